"""Brain MRI tumor classification: a linear probe, features of each image computed once."""

from exps.exp020_lite0 import Exp020Lite0


class Exp020Probe(Exp020Lite0):
    probe = True
    augment = "none"
    lr = 1e-3
    epochs = 30
    seeds = (0,)
    budgets = {"quick": {"image_size": (128, 128)}, "production": None, "baseline": None}
