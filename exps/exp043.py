"""FracAtlas with strong augmentation, so that one scanner's look matters less."""

from exps.exp040 import Exp040


class Exp043(Exp040):
    augment = "strong"
