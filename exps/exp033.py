"""Hippocampus with the smaller residual U-Net (Kerfoot et al. 2019)."""

from exps.exp030 import Exp030


class Exp033(Exp030):
    arch = "unet"
