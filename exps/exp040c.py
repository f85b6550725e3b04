"""FracAtlas, a coarse detector on small images: first stage of the cascade of exp049c."""

from exps.exp040 import Exp040


class Exp040c(Exp040):
    image_size = (192, 192)
    budgets = {
        "quick": {"image_size": (128, 128), "epochs": 6, "steps_per_epoch": 40},
        "baseline": {"epochs": 30},
        "production": {"epochs": 100, "seeds": (0, 1, 2)},
    }
