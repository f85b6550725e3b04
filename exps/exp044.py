"""FracAtlas with a loss that also asks each map whether there is a fracture at all."""

from exps.exp040 import Exp040


class Exp044(Exp040):
    presence_weight = 0.5
