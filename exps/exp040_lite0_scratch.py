"""FracAtlas fracture segmentation: EfficientNet-Lite0 from random weights."""

from exps.exp040_lite0 import Exp040Lite0


class Exp040Lite0Scratch(Exp040Lite0):
    encoder_weights = None
