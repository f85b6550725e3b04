"""heldout: a fold-and-ensemble harness for medical imaging whose every number comes from held-out patients."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heldout.config.metric import metric

__all__ = ["__version__", "metric"]
__version__ = "0.1.0"

_LAZY = {"metric": "heldout.config.metric"}


def __getattr__(name: str) -> Any:
    """Import what a notebook or an experiment uses when it is used, so that ``import heldout`` stays light."""
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'heldout' has no attribute {name!r}")
