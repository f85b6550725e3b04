"""Brain MRI tumour classification with a ConvNeXt of atto size (Liu et al. 2022)."""

from exps.exp020 import Exp020


class Exp022(Exp020):
    encoder = "convnext_atto"
    budgets = {
        "quick": {"epochs": 12},
        "baseline": {"image_size": (224, 224)},
        "production": {"image_size": (224, 224), "epochs": 120, "seeds": (0, 1, 2)},
    }
