"""Phantom lesions in 3D, second stage: exp003's out-of-fold maps as channels (cascade of nnU-Net)."""

from exps.exp003 import Exp003


class Exp007(Exp003):
    first_stage = "exp003"
