"""FracAtlas, a coarse detector on small images: first stage of the cascade of exp049_crop."""

from exps.exp040 import Exp040


class Exp040Coarse(Exp040):
    image_size = (192, 192)
    budgets = {
        "quick": {"image_size": (128, 128), "folds": None},
        "baseline": {"image_size": (192, 192)},
        "production": {"encoder": "resnet18"},
        "hour": None,
    }
