"""Phantom volumes, for several devices: instance normalization, float32 and SGD."""

from heldout.tasks.segment import Segment3D


class Exp906(Segment3D):
    dataset = "team_volumes"
    source = "phantom"
    source_options = {"dimensions": 3, "patients": 24, "images_per_patient": 1, "size": 32}
    fold_count = 2
    test_fraction = 0.0
    normalize = "zscore"
    spacing = (2.0, 2.0, 2.0)
    patch_size = (16, 16, 16)
    filters = (4, 6, 8)
    steps_per_epoch = 10
    epochs = 2
    batch_size = 4
    workers = 0
    lr = 3e-3
    optimizer = "sgd"
    precision = "32-true"
