"""AdrenalMNIST3D with cross-entropy weighted by the rarity of each class (King and Zeng 2001)."""

from exps.exp050 import Exp050


class Exp050Weighted(Exp050):
    class_weighting = "balanced"
