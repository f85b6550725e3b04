"""FracAtlas with hard negatives, chosen every few epochs (after Shrivastava et al. 2016)."""

from exps.exp040 import Exp040


class Exp042(Exp040):
    hard_negative_fraction = 0.5
    budgets = {
        "quick": {
            "image_size": (192, 192),
            "epochs": 6,
            "steps_per_epoch": 40,
            "folds": (0, 1),
            "mine_every": 2,
            "mine_cases": 400,
        },
        "baseline": {"image_size": (256, 256), "epochs": 30},
        "production": {"encoder": "resnet50", "epochs": 100, "seeds": (0, 1, 2)},
    }
