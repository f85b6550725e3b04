"""Hippocampus with deep supervision: coarser levels learn the mask too (Dou et al. 2016)."""

from exps.exp030 import Exp030


class Exp034(Exp030):
    deep_supervision = 2
