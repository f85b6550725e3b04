"""Brain MRI tumor classification: EfficientNet-Lite0 from random weights."""

from exps.exp020_lite0 import Exp020Lite0


class Exp020Lite0Scratch(Exp020Lite0):
    encoder_weights = None
