"""AdrenalMNIST3D in 2.5D: a ResNet-10 over stacks of 3 slices, attention (RSNA 2023 and 2024 winners)."""

from exps.exp050 import Exp050


class Exp058(Exp050):
    arch = "slices"
    encoder = "resnet10t"
    slice_step = 3
    pooling = "attention"
    budgets = {
        "quick": {"encoder": "resnet10t", "width": 0.5},
        "production": {"encoder": "resnet18", "slice_step": 1, "width": 0.5},
    }
