"""Hippocampus with strong augmentation, which the small number of cases asks for."""

from exps.exp030 import Exp030


class Exp031(Exp030):
    augment = "strong"
