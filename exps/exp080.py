"""FracAtlas fractures as boxes: the segmenter of the same fold and seed, trained further."""

from heldout.tasks import Detect2D


class Exp080(Detect2D):
    dataset = "FracAtlas"
    source = "fracatlas"
    skip_bad = True
    warm_start = "exp040_lite0"
    encoder = "tu-tf_efficientnet_lite0"
    decoder_channels = (128, 64, 48, 32, 16)
    image_size = (256, 256)
    normalize = "unit"
    positive_fraction = 0.7
    batch_dice = False
    dice_positives = True
    dice_weight = 7 / 3
    batch_size = 16
    lr = 3e-4
    epochs = 2
    steps_per_epoch = 60
    tta = "hv"
    budgets = {"quick": {"epochs": 1, "folds": (0, 1)}}
