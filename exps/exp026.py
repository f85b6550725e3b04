"""Low-grade glioma slices, multi-task: mask first, then the head alone, then both, on one encoder."""

from exps.exp025 import Exp025
from heldout.tasks.multitask import MultiTask2D


class Exp026(Exp025, MultiTask2D):
    warmup_epochs = 10
    head_epochs = 4
    budgets = {"quick": {"warmup_epochs": 3, "head_epochs": 1}, "baseline": {"warmup_epochs": 6, "head_epochs": 3}}
