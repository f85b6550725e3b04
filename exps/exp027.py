"""Low-grade glioma slices, tumor presence: a classifier as large as the segmentation network."""

from heldout.tasks.classify import Classify2D


class Exp027(Classify2D):
    dataset = "lgg-mri-segmentation"
    source = "lgg"
    channels = 3
    image_size = (256, 256)
    encoder = "resnet18"
    epochs = 40
    batch_size = 16
    lr = 1e-3
    positive_fraction = 0.6
    tta = "h"
    budgets = {
        "quick": {"epochs": 12, "image_size": (128, 128), "folds": (0, 1)},
        "baseline": {"epochs": 25},
        "production": {"encoder": "resnet50", "epochs": 80, "seeds": (0, 1, 2)},
    }
