"""AdrenalMNIST3D in crops, pooled by gated attention (Ilse et al. 2018)."""

from exps.exp055 import Exp055


class Exp057(Exp055):
    pooling = "attention"
