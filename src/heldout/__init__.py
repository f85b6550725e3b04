"""heldout: a fold-and-ensemble harness for medical imaging whose every number comes from held-out patients."""

__version__ = "0.1.0"
