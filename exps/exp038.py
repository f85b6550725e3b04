"""Hippocampus, a short second stage that sees the first one's out-of-fold maps (cascade of nnU-Net)."""

from exps.exp037 import Exp037


class Exp038(Exp037):
    first_stage = "exp037"
    epochs = 16
