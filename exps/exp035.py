"""Hippocampus, second stage: the first stage's out-of-fold maps as channels (cascade of nnU-Net)."""

from exps.exp030 import Exp030


class Exp035(Exp030):
    first_stage = "exp030"
    # no baseline: that of exp030 is one fold, and a first stage must hold out every case
    budgets = {"baseline": None}
