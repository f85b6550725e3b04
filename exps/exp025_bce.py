"""Low-grade glioma with cross-entropy alone, every pixel alike."""

from exps.exp025 import Exp025


class Exp025Bce(Exp025):
    loss = "bce"
