"""FracAtlas, presence and mask by one pretrained network: half the epochs at 256 pixels, half at 384."""

from dataclasses import replace

from exps.exp040_lite0 import Exp040Lite0
from heldout.tasks.multitask import MultiTask2D


class Exp045Lite0(Exp040Lite0, MultiTask2D):
    image_size = (384, 384)
    progressive_sizes = (2 / 3, 1.0)
    positive_fraction = 0.5
    epochs = 16
    label_weight = 0.5
    budgets = {"baseline": {"image_size": (384, 384), "epochs": 16}}
    postprocess_choices = {"own_threshold": (False, True)}

    def postprocess(self, result, own_threshold):
        """Cut every image at the threshold with the largest expected Dice, or all at one threshold."""
        from heldout.tasks.expected_dice import expected_dice_mask

        return replace(result, mask=expected_dice_mask(result.map, result.mask)) if own_threshold else result
