"""FracAtlas at a higher resolution, in patches around fractures (nnU-Net, Isensee et al. 2021)."""

from exps.exp040 import Exp040


class Exp042Patches(Exp040):
    image_size = (512, 512)
    patch_size = (256, 256)
    foreground_fraction = 0.7
    budgets = {
        "quick": {"image_size": (288, 288), "patch_size": (192, 192)},
        "baseline": {"image_size": (384, 384)},
        "hour": None,
    }
