"""AdrenalMNIST3D in crops, pooled by noisy-or (Zhang et al. 2006)."""

from exps.exp055 import Exp055


class Exp056(Exp055):
    pooling = "noisy_or"
