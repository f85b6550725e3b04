"""FracAtlas without oversampling, to see what that is worth: fractures as often as they come."""

from exps.exp040 import Exp040


class Exp048(Exp040):
    positive_fraction = None
