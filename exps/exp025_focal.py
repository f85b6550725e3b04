"""Low-grade glioma with the focal loss (Lin et al. 2017)."""

from exps.exp025 import Exp025


class Exp025Focal(Exp025):
    loss = "focal"
