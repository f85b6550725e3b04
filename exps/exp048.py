"""FracAtlas without oversampling: fractures as often as they come, to see what the oversampling is worth."""

from exps.exp040 import Exp040


class Exp048(Exp040):
    positive_fraction = None
