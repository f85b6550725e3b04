"""Hippocampus with strong augmentation, to reduce overfitting."""

from exps.exp036 import Exp036


class Exp037(Exp036):
    augment = "strong"
    seeds = (0, 1)
