"""Hippocampus, second stage of a third of the epochs: sees the first one's maps (cascade of nnU-Net)."""

from exps.exp037 import Exp037


class Exp038(Exp037):
    first_stage = "exp037"
    seeds = (0,)
    epochs = 16
    # no baseline: that of exp037 is one fold, and a first stage must hold out every case
    budgets = {"quick": {"epochs": 5}, "production": {"epochs": 66}, "baseline": None}
