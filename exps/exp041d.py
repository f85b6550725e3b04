"""FracAtlas with DeepLabV3 (Chen et al. 2017), the network of the fracture benchmark."""

from exps.exp041 import Exp041


class Exp041d(Exp041):
    arch = "DeepLabV3"
