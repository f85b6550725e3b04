"""Low-grade glioma with empty slices as often as they come, about 65 %, not in 40 % of the draws."""

from exps.exp025 import Exp025


class Exp025Natural(Exp025):
    positive_fraction = None
