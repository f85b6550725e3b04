"""BraTS volumes as slices, four modalities, whole tumor: U-Net, half of the empty slices kept."""

from heldout.tasks.segment import Segment2D


class Exp028(Segment2D):
    dataset = "brats_samples"
    source = "brats_slices"
    source_options = {"empty_share": 0.5}
    fold_count = 2
    test_fraction = 0.0
    near_duplicates = False
    channels = 4
    image_size = (240, 240)
    normalize = "zscore"
    encoder = "resnet18"
    epochs = 40
    batch_size = 16
    lr = 1e-3
    positive_fraction = 0.6
    tta = "h"
    mask_details = ("lesions", "volume")
    budgets = {
        "quick": {"epochs": 12, "steps_per_epoch": 12, "image_size": (128, 128)},
        "baseline": {"epochs": 20},
        "production": {"encoder": "resnet50", "epochs": 80, "seeds": (0, 1, 2)},
    }
