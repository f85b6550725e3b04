"""AdrenalMNIST3D, oversampled, with the focal loss (Lin et al. 2017)."""

from exps.exp051 import Exp051


class Exp053(Exp051):
    loss = "focal"
