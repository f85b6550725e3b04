"""Small lesions in phantom MRI, ATLAS layout: residual 3D U-Net, lesion-aware patches, best epoch."""

from heldout.tasks.segment import Segment3D


class Exp010(Segment3D):
    dataset = "phantom_lesions"
    source = "phantom_lesions"
    fold_count = 2
    near_duplicates = False
    crop = "nonzero"
    spacing = (2.0, 2.0, 2.0)
    normalize = "zscore"
    patch_size = (48, 48, 48)
    foreground_fraction = 0.7
    loss = "dice_bce"
    filters = (16, 32, 64)
    epochs = 60
    steps_per_epoch = 16
    batch_size = 4
    lr = 2e-3
    validate_every = 5
    checkpoint = "best"
    early_stopping = 4
    overlap = 0.25
    predict_batch_size = 4
    mask_details = ("lesions", "surface", "volume")
    budgets = {
        "quick": {
            "epochs": 16,
            "steps_per_epoch": 20,
            "patch_size": (32, 32, 32),
            "filters": (8, 16, 32),
            "lr": 4e-3,
            "validate_every": 4,
        },
        "baseline": {"epochs": 30},
        "production": {"filters": (32, 64, 128, 256), "epochs": 150, "seeds": (0, 1, 2)},
    }
