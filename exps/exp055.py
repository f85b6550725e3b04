"""AdrenalMNIST3D in random crops, their features averaged (multi-crop); a grid of crops predicts."""

from exps.exp050 import Exp050


class Exp055(Exp050):
    crop_size = (18, 18, 18)
    overlap = 0.4
