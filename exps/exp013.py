"""ATLAS v2, stroke lesions in T1 MRI: as the phantoms, larger (data: Liew et al. 2022)."""

from exps.exp010 import Exp010


class Exp013(Exp010):
    dataset = "ATLAS_2"
    source = "atlas"
    fold_count = 5
    patch_size = (96, 96, 96)
    filters = (32, 64, 128, 256)
    steps_per_epoch = None
    batch_size = 2
    epochs = 100
    validate_every = 10
    predict_batch_size = 2
    budgets = {
        "quick": {
            "spacing": (4.0, 4.0, 4.0),
            "case_fraction": 0.1,
            "epochs": 4,
            "steps_per_epoch": 16,
            "folds": (0,),
            "lr": 0.002,
        },
        "baseline": {"folds": (0,)},
        "production": {"spacing": (1.0, 1.0, 1.0), "epochs": 300, "filters": (32, 64, 128, 256)},
    }
