"""Brain MRI, pretrained EfficientNet-Lite0, with cutmix (Yun et al. 2019)."""

from exps.exp020_lite0 import Exp020Lite0


class Exp020Cutmix(Exp020Lite0):
    cutmix = 1.0
