"""FracAtlas stretched to a square, to see what keeping proportions (letterbox) is worth."""

from exps.exp040 import Exp040


class Exp040Stretch(Exp040):
    resize = "stretch"
