"""Hippocampus with a deep residual encoder and the augmentation of nnU-Net, one cycle."""

from exps.exp030_short import Exp030Short


class Exp030Resenc(Exp030Short):
    arch = "resenc"
    augment = "nnunet"
    lr = 2e-3
    epochs = 16
    budgets = {"production": {"filters": (32, 64, 128, 256), "epochs": 60}}
