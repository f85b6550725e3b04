"""FracAtlas presence classifier at 384 pixels, from the weights at 256 (progressive resizing)."""

from exps.exp049_lite0 import Exp049Lite0


class Exp049Lite0Large(Exp049Lite0):
    warm_start = "exp049_lite0"
    image_size = (384, 384)
    epochs = 3
    lr = 3e-4
    budgets = {
        "quick": {"epochs": 2},
        "baseline": {"image_size": (384, 384), "epochs": 3},
        "production": {"image_size": (512, 512), "epochs": 15, "lr": 3e-4},
    }
