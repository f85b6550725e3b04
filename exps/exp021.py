"""Brain MRI tumour classification with an EfficientNet-B0 (Tan and Le 2019)."""

from exps.exp020 import Exp020


class Exp021(Exp020):
    encoder = "efficientnet_b0"
    budgets = {
        "quick": {"epochs": 12},
        "baseline": {"image_size": (224, 224)},
        "production": {"image_size": (224, 224), "epochs": 120, "seeds": (0, 1, 2)},
    }
