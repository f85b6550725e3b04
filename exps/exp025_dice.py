"""Low-grade glioma with the Dice loss alone (Milletari et al. 2016)."""

from exps.exp025 import Exp025


class Exp025Dice(Exp025):
    loss = "dice"
