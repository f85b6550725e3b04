"""FracAtlas with strong augmentation of the image alone (BigAug, Zhang et al. 2020; Cutout, 2017).

Exp043 has wider scales, turns, shifts and shears besides: the two together separate the effect of each part.
"""

from exps.exp040 import Exp040


class Exp043Appearance(Exp040):
    augment = "appearance"
