"""Phantom lesions in 3D: a small residual U-Net on oblique, anisotropic volumes."""

from heldout.tasks.segment import Segment3D


class Exp003(Segment3D):
    dataset = "phantom3d"
    source = "phantom"
    source_options = {"dimensions": 3}
    fold_count = 2
    normalize = "zscore"
    spacing = (2.0, 2.0, 2.0)
    patch_size = (32, 32, 16)
    filters = (8, 16, 32)
    epochs = 10
    batch_size = 4
    lr = 3e-3
    submission = "masks"
    budgets = {"quick": {"epochs": 2}}
