"""FracAtlas, presence and mask by one network at 512 pixels, from its weights at 384."""

from exps.exp045_lite0 import Exp045Lite0


class Exp045Lite0Large(Exp045Lite0):
    warm_start = "exp045_lite0"
    image_size = (512, 512)
    progressive_sizes = ()
    epochs = 6
    lr = 5e-4
    budgets = {"baseline": {"image_size": (512, 512), "epochs": 6}}
