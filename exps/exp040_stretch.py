"""FracAtlas stretched to a square, an ablation of letterboxing."""

from exps.exp040 import Exp040


class Exp040Stretch(Exp040):
    resize = "stretch"
