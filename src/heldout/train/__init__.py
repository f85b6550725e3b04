"""Prepared arrays to fitted folds: sampling, augmentation, the fold loop, checkpoints and out-of-fold predictions."""
