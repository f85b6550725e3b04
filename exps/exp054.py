"""AdrenalMNIST3D, oversampled, focal loss, with a 3D ResNet-34; the quick budget keeps its depth."""

from exps.exp053 import Exp053


class Exp054(Exp053):
    encoder = "resnet34"
    budgets = {
        "quick": {"epochs": 8, "width": 0.25},
        "baseline": {"epochs": 15},
        "production": {"width": 1.0, "epochs": 60, "seeds": (0, 1, 2)},
    }
