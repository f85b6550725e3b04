"""Phantom lesions in 2D: a small U-Net on images with rare, small and large lesions."""

from heldout.tasks.segment import Segment2D


class Exp001(Segment2D):
    dataset = "phantom"
    source = "phantom"
    fold_count = 2
    seeds = (0, 1)
    normalize = "unit"
    encoder = "tu-resnet10t"
    epochs = 6
    batch_size = 8
    lr = 2e-3
    positive_fraction = 0.5
    submission = "rle"
    sample_submission = "sample_submission.csv"
    budgets = {"quick": {"epochs": 2, "folds": (0,), "case_fraction": 0.5}}
