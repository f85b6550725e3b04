"""Low-grade glioma slices, multi-task: mask first, then the head alone, then both, on one encoder."""

from exps.exp025 import Exp025
from heldout.tasks.both import Both2D


class Exp026(Exp025, Both2D):
    warmup_epochs = 10
    head_epochs = 4
    budgets = {
        "quick": {"epochs": 12, "image_size": (128, 128), "folds": (0, 1), "warmup_epochs": 3, "head_epochs": 1},
        "baseline": {"epochs": 25, "warmup_epochs": 6, "head_epochs": 3},
        "production": {"encoder": "resnet50", "epochs": 80, "seeds": (0, 1, 2)},
    }
