"""Brain MRI, pretrained EfficientNet-Lite0: small images first (Tan and Le 2021)."""

from exps.exp020_lite0 import Exp020Lite0


class Exp020Progressive(Exp020Lite0):
    progressive_sizes = (0.5, 0.75, 1.0)
