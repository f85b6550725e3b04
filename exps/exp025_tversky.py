"""Low-grade glioma with the Tversky loss (Salehi et al. 2017)."""

from exps.exp025 import Exp025


class Exp025Tversky(Exp025):
    loss = "tversky"
