"""Hippocampus with strong augmentation, in the manner of nnU-Net (Isensee et al. 2021)."""

from exps.exp030 import Exp030


class Exp031(Exp030):
    augment = "strong"
