"""FracAtlas, presence and mask by one pretrained network with fewer channels in the decoder."""

from exps.exp045_lite0 import Exp045Lite0


class Exp045Lite0Light(Exp045Lite0):
    decoder_channels = (96, 48, 32, 16, 8)
