"""Brain MRI tumor classification with an EfficientNet-B0 (Tan and Le 2019)."""

from exps.exp020 import Exp020


class Exp021(Exp020):
    encoder = "efficientnet_b0"
    budgets = {"quick": {"seeds": (0,)}, "production": {"encoder": "efficientnet_b0"}}
