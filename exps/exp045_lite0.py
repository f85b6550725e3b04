"""FracAtlas, presence and mask by one pretrained network that begins as the presence classifier."""

from exps.exp040_lite0 import Exp040Lite0
from heldout.tasks.multitask import MultiTask2D


class Exp045Lite0(Exp040Lite0, MultiTask2D):
    warm_start = "exp049_lite0"
    encoder_weights = None
    positive_fraction = 0.5
    epochs = 6
    lr = 7e-4
    label_weight = 0.5
