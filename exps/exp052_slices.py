"""Phantom aneurysms in 2.5D: a ResNet-10 over stacks of 3 slices, attention (RSNA 2023, 2024 winners)."""

from exps.exp052 import Exp052


class Exp052Slices(Exp052):
    arch = "slices"
    encoder = "resnet10t"
    pooling = "attention"
