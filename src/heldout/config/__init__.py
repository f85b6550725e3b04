"""Experiments as data: their fields and checks, their names, and how they are loaded."""

from heldout.config.base import LONGEST_NAME, BaseConfig, ExperimentMeta
from heldout.config.loading import difference, experiments, listed_blend, listed_minutes, listed_minutes_of, load, names

__all__ = [
    "LONGEST_NAME",
    "BaseConfig",
    "ExperimentMeta",
    "difference",
    "experiments",
    "listed_blend",
    "listed_minutes",
    "listed_minutes_of",
    "load",
    "names",
]
