"""Low-grade glioma, multi-task, mask and head together from the first epoch on (Caruana 1997)."""

from exps.exp026 import Exp026


class Exp026j(Exp026):
    warmup_epochs = 0
    head_epochs = 0
    budgets = {
        "quick": {"epochs": 12, "image_size": (128, 128), "folds": (0, 1)},
        "baseline": {"epochs": 25},
        "production": {"encoder": "resnet50", "epochs": 80, "seeds": (0, 1, 2)},
    }
