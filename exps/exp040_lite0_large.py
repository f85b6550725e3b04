"""FracAtlas fracture segmentation at 384 pixels, from the weights at 256 (progressive resizing)."""

from exps.exp040_lite0 import Exp040Lite0


class Exp040Lite0Large(Exp040Lite0):
    warm_start = "exp040_lite0"
    image_size = (384, 384)
    epochs = 4
    lr = 5e-4
    budgets = {
        "quick": {"epochs": 2},
        "baseline": {"image_size": (384, 384), "epochs": 4},
        "production": {"image_size": (512, 512), "epochs": 20, "lr": 5e-4},
    }
