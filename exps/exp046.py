"""FracAtlas with the focal loss, which down-weights easy background (Lin et al. 2017)."""

from exps.exp040 import Exp040


class Exp046(Exp040):
    loss = "focal"
