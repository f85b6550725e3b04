"""Low-grade glioma with empty slices as often as they come, instead of mostly left out."""

from exps.exp025 import Exp025


class Exp025n(Exp025):
    positive_fraction = None
