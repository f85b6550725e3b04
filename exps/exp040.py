"""FracAtlas fracture segmentation with presence: U-Net with oversampled fractures, from scratch."""

from heldout.tasks.segment import Segment2D


class Exp040(Segment2D):
    dataset = "FracAtlas"
    source = "fracatlas"
    skip_bad = True
    image_size = (384, 384)
    encoder = "resnet18"
    epochs = 60
    batch_size = 16
    lr = 1e-3
    positive_fraction = 0.5
    tta = "h"
    budgets = {
        "quick": {"image_size": (192, 192), "epochs": 6, "steps_per_epoch": 40, "folds": (0, 1)},
        "hour": {"image_size": (192, 192), "epochs": 12, "folds": (0, 1)},  # a fold on one core of a CPU
        "baseline": {"image_size": (256, 256), "epochs": 30},
        "production": {"encoder": "resnet50", "epochs": 100, "seeds": (0, 1, 2)},
    }
