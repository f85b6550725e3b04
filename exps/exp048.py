"""FracAtlas without oversampling: images with fractures at their natural frequency."""

from exps.exp040 import Exp040


class Exp048(Exp040):
    positive_fraction = None
