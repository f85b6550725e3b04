"""AdrenalMNIST3D, oversampled, focal loss, with a 3D ResNet-34; the quick budget keeps its depth."""

from exps.exp053 import Exp053


class Exp054(Exp053):
    encoder = "resnet34"
    budgets = {"quick": {"encoder": "resnet34"}}
