"""FracAtlas with a loss that asks each map for a fracture too (top scores' mean: Durand et al. 2016)."""

from exps.exp040 import Exp040


class Exp044(Exp040):
    presence_weight = 0.5
