"""FracAtlas on EfficientNet-Lite0, with the Dice of all images instead of those with a fracture."""

from exps.exp040_lite0 import Exp040Lite0


class Exp040Lite0All(Exp040Lite0):
    dice_positives = False
