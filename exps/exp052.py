"""Phantom aneurysms in CT and MR series (DICOM): 13 locations and presence, whole volumes."""

from heldout.tasks.classify import Classify3D


class Exp052(Classify3D):
    dataset = "phantom_aneurysm"
    source = "phantom_aneurysm"
    fold_count = 2
    normalize = "zscore"
    image_size = (32, 32, 32)
    encoder = "resnet10"
    stem = "small"
    width = 0.25
    epochs = 20
    batch_size = 4
    near_duplicates = False
    metric = "weighted_auc:Aneurysm_Present"
    budgets = {"quick": {"epochs": 2, "folds": (0,)}}
