"""FracAtlas with DeepLabV3+ on a ResNet-50 (Chen et al. 2018); the quick budget keeps the ResNet-18."""

from exps.exp040 import Exp040


class Exp041(Exp040):
    arch = "DeepLabV3Plus"
    encoder = "resnet50"
    budgets = {"quick": {"encoder": "resnet18"}, "production": {"encoder": "resnet50"}, "hour": None}
