"""RSNA Intracranial Aneurysm Detection 2025: whole CT and MR series, 3D ResNet-18, x-flip TTA."""

from heldout.tasks.classify import Classify3D

COARSE = {"spacing": (2.0, 2.0, 2.0), "image_size": (96, 96, 80)}


class Exp059(Classify3D):
    dataset = "rsna-intracranial-aneurysm-detection"
    source = "rsna_aneurysm"
    skip_bad = True
    near_duplicates = False
    normalize = "percentile"
    percentiles = (0.5, 99.5)
    spacing = (1.0, 1.0, 1.0)
    image_size = (192, 192, 160)
    encoder = "resnet18"
    positive_fraction = 0.5
    epochs = 40
    batch_size = 4
    accumulate = 4
    lr = 5e-4
    flips = "x"
    tta = "x"
    predict_batch_size = 1
    metric = "weighted_auc:Aneurysm_Present"
    budgets = {
        "quick": {**COARSE, "encoder": "resnet10", "width": 0.25, "epochs": 4},
        "baseline": {**COARSE, "width": 0.5, "batch_size": 16, "accumulate": 1},
        "production": {"encoder": "resnet34", "epochs": 80, "seeds": (0, 1, 2)},
    }
