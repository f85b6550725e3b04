"""FracAtlas with an auxiliary presence loss on the top-k logits of each map (Durand et al. 2016)."""

from exps.exp040 import Exp040


class Exp044(Exp040):
    presence_weight = 0.5
