"""FracAtlas fracture segmentation, pretrained: masks at a quarter of the size (FPN, Kirillov 2019)."""

from exps.exp040_lite0 import Exp040Lite0


class Exp040Lite0Quarter(Exp040Lite0):
    arch = "FPN"
    decoder_channels = None
