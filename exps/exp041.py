"""FracAtlas with DeepLabV3+ on a ResNet-50 (Chen et al. 2018); the quick budget keeps the ResNet-18."""

from exps.exp040 import Exp040


class Exp041(Exp040):
    arch = "DeepLabV3Plus"
    encoder = "resnet50"
    budgets = {
        "quick": {"encoder": "resnet18", "image_size": (192, 192), "epochs": 6, "steps_per_epoch": 40, "folds": (0, 1)},
        "baseline": {"image_size": (256, 256), "epochs": 30},
        "production": {"epochs": 100, "seeds": (0, 1, 2)},
    }
