"""FracAtlas, presence and mask by one network at 640 pixels, from its weights at 512."""

from exps.exp045_lite0_large import Exp045Lite0Large


class Exp045Lite0At640(Exp045Lite0Large):
    warm_start = "exp045_lite0_large"
    image_size = (640, 640)
    epochs = 3
    batch_size = 8
    steps_per_epoch = 120
    lr = 2e-4
    budgets = {"baseline": {"image_size": (640, 640), "epochs": 3}}
