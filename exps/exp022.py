"""Brain MRI tumor classification with ConvNeXt-Atto (Liu et al. 2022)."""

from exps.exp020 import Exp020


class Exp022(Exp020):
    encoder = "convnext_atto"
    budgets = {"quick": {"seeds": (0,)}, "production": {"encoder": "convnext_atto"}}
