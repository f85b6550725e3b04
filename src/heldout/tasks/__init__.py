"""What a model is for: its network, its loss, its augmentation, its activation and its score.

The classes of tasks are imported when they are asked for: a command that lists experiments builds those that it needs.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from heldout.tasks.base import Task, load_experiments, load_task

if TYPE_CHECKING:
    from heldout.tasks.classify import Classify2D, Classify3D
    from heldout.tasks.detect import Detect2D, Detect3D
    from heldout.tasks.multitask import MultiTask2D
    from heldout.tasks.regress import Regress2D, Regress3D
    from heldout.tasks.segment import Segment2D, Segment3D

    TASKS: tuple[type[Task], ...]

__all__ = [
    "TASKS",
    "Classify2D",
    "Classify3D",
    "Detect2D",
    "Detect3D",
    "MultiTask2D",
    "Regress2D",
    "Regress3D",
    "Segment2D",
    "Segment3D",
    "Task",
    "load_experiments",
    "load_task",
]
_MODULES = {
    "Classify2D": "classify",
    "Classify3D": "classify",
    "Detect2D": "detect",
    "Detect3D": "detect",
    "MultiTask2D": "multitask",
    "Regress2D": "regress",
    "Regress3D": "regress",
    "Segment2D": "segment",
    "Segment3D": "segment",
}


def __getattr__(name: str) -> Any:
    if name == "TASKS":
        return tuple(map(__getattr__, _MODULES))
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
