"""Hippocampus under strong augmentation, against learning the training masks by heart."""

from exps.exp036 import Exp036


class Exp037(Exp036):
    augment = "strong"
    seeds = (0, 1)
