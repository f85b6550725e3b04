"""Phantom lesions in 2D, trained on patches around the lesions with the Tversky loss."""

from exps.exp001 import Exp001


class Exp002(Exp001):
    patch_size = (64, 64)
    foreground_fraction = 0.7
    loss = "tversky"
