"""FracAtlas with the Tversky loss, false negatives weighted higher (Salehi et al. 2017)."""

from exps.exp040 import Exp040


class Exp047(Exp040):
    loss = "tversky"
