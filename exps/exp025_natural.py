"""Low-grade glioma with empty slices at their natural frequency, about 65 %, not 40 % of the draws."""

from exps.exp025 import Exp025


class Exp025Natural(Exp025):
    positive_fraction = None
