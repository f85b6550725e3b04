"""Phantom images, for several devices: a classifier with layer normalization."""

from heldout.tasks.classify import Classify2D


class Exp907(Classify2D):
    dataset = "team_images"
    source = "phantom"
    source_options = {"patients": 24, "images_per_patient": 1, "size": 32}
    fold_count = 2
    test_fraction = 0.0
    normalize = "unit"
    encoder = "convnext_atto"
    positive_fraction = 0.5
    steps_per_epoch = 10
    epochs = 2
    batch_size = 4
    workers = 0
    lr = 1e-3
    optimizer = "sgd"
    precision = "32-true"
