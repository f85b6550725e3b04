"""FracAtlas fracture segmentation, pretrained: smp's own decoder, of twice the channels."""

from exps.exp040_lite0 import Exp040Lite0


class Exp040Lite0Wide(Exp040Lite0):
    decoder_channels = None
