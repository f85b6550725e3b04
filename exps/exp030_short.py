"""Hippocampus in a third of the time: one learning-rate cycle, deep supervision, batches of two."""

from exps.exp034 import Exp034


class Exp030Short(Exp034):
    deep_supervision = 1
    batch_size = 2
    schedule = "one_cycle"
    warmup_fraction = 0.3
    lr = 4e-3
    epochs = 14
    budgets = {"quick": {"epochs": 5}, "production": {"epochs": 60, "filters": (32, 64, 128, 256)}, "baseline": None}
