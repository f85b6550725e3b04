"""Brain MRI, pretrained EfficientNet-Lite0, with mixup (Zhang et al. 2018)."""

from exps.exp020_lite0 import Exp020Lite0


class Exp020Mixup(Exp020Lite0):
    mixup = 0.2
