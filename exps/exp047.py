"""FracAtlas with the Tversky loss, which weighs missed voxels above false ones (Salehi et al. 2017)."""

from exps.exp040 import Exp040


class Exp047(Exp040):
    loss = "tversky"
