"""Phantom lesions in 2D as multi-label classification: which lesion sizes does the image show."""

from heldout.tasks.classify import Classify2D


class Exp004(Classify2D):
    dataset = "phantom"
    source = "phantom"
    fold_count = 2
    normalize = "unit"
    encoder = "resnet10t"
    epochs = 6
    lr = 1e-3
    positive_fraction = 0.5
    budgets = {"quick": {"epochs": 2, "folds": (0,)}}
