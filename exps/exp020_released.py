"""Brain MRI, pretrained EfficientNet-Lite0: encoder frozen first, then slower the lower the layer."""

from exps.exp020_lite0 import Exp020Lite0


class Exp020Released(Exp020Lite0):
    frozen_epochs = 2
    layer_decay = 0.9
