"""AdrenalMNIST3D with both classes drawn equally often (oversampling, Buda et al. 2018)."""

from exps.exp050 import Exp050


class Exp051(Exp050):
    positive_fraction = 0.5
