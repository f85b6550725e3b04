"""AdrenalMNIST3D in random crops, features averaged (MI-Net, Wang et al. 2018); a grid predicts."""

from exps.exp050 import Exp050


class Exp055(Exp050):
    crop_size = (18, 18, 18)
    overlap = 0.4
