"""FracAtlas with DeepLabV3 on a ResNet-50 (Chen et al. 2017); the quick budget keeps the ResNet-18.

DeepLabV3 is the baseline of the X-ray fracture benchmark.
"""

from exps.exp041 import Exp041


class Exp041Deeplabv3(Exp041):
    arch = "DeepLabV3"
