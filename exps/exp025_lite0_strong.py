"""Low-grade glioma slices, pretrained, with strong augmentation for the few patients there are."""

from exps.exp025_lite0 import Exp025Lite0


class Exp025Lite0Strong(Exp025Lite0):
    augment = "strong"
