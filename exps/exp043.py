"""FracAtlas with strong augmentation, of geometry and intensities (after BigAug, Zhang et al. 2020)."""

from exps.exp040 import Exp040


class Exp043(Exp040):
    augment = "strong"
