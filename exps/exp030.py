"""Hippocampus in T1 MRI, anterior and posterior: residual DynUNet on whole crops."""

from heldout.tasks.segment import Segment3D


class Exp030(Segment3D):
    dataset = "Task04_Hippocampus"
    source = "msd"
    normalize = "zscore"
    patch_size = (40, 56, 40)
    foreground_fraction = 0.0
    filters = (16, 32, 64, 128)
    flips = "x"
    epochs = 48
    batch_size = 4
    lr = 2e-3
    tta = "x"
    predict_batch_size = 4
    search_space = {"lr": ("log", 5e-4, 5e-3), "augment": ["none", "light", "strong"]}
    budgets = {
        "quick": {"epochs": 15},
        "baseline": {"folds": (0,)},
        "production": {"filters": (32, 64, 128, 256), "epochs": 200, "seeds": (0, 1, 2)},
    }
