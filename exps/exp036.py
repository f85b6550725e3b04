"""Hippocampus in batches of two, as nnU-Net trains: twice the steps (Isensee et al. 2021)."""

from exps.exp034 import Exp034


class Exp036(Exp034):
    batch_size = 2
