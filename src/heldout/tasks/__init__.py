"""What a model is for: its network, its loss, its augmentation, its activation and its score."""

from heldout.tasks.base import Task, load_experiments, load_task
from heldout.tasks.classify import Classify2D, Classify3D
from heldout.tasks.multitask import MultiTask2D
from heldout.tasks.segment import Segment2D, Segment3D

TASKS: tuple[type[Task], ...] = (Classify2D, Classify3D, MultiTask2D, Segment2D, Segment3D)

__all__ = [
    "TASKS",
    "Classify2D",
    "Classify3D",
    "MultiTask2D",
    "Segment2D",
    "Segment3D",
    "Task",
    "load_experiments",
    "load_task",
]
