"""FracAtlas with strong augmentation of the image alone (BigAug, Zhang et al. 2020; Cutout, 2017).

Exp043 has wider scales, turns, shifts and shears besides: together they tell what each part is worth.
"""

from exps.exp040 import Exp040


class Exp043Appearance(Exp040):
    augment = "appearance"
