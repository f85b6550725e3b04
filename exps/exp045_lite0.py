"""FracAtlas, presence and mask by one pretrained network: half the epochs at 256 pixels, half at 384."""

from exps.exp040_lite0 import Exp040Lite0
from heldout.tasks.multitask import MultiTask2D


class Exp045Lite0(Exp040Lite0, MultiTask2D):
    image_size = (384, 384)
    progressive_sizes = (2 / 3, 1.0)
    positive_fraction = 0.5
    epochs = 16
    label_weight = 0.5
