"""FracAtlas fracture segmentation, pretrained, with some hard negatives among the negatives."""

from exps.exp040_lite0 import Exp040Lite0


class Exp040Lite0Mined(Exp040Lite0):
    hard_negative_fraction = 0.3
    mine_cases = 400
    mine_every = 2
