"""Phantom lesions in 3D as multi-label classification."""

from heldout.tasks.classify import Classify3D


class Exp005(Classify3D):
    dataset = "phantom3d"
    source = "phantom"
    source_options = {"dimensions": 3}
    fold_count = 2
    normalize = "zscore"
    image_size = (32, 32, 16)
    encoder = "resnet10"
    stem = "small"
    width = 0.25
    epochs = 10
    batch_size = 4
    budgets = {"quick": {"epochs": 2, "folds": (0,)}}
