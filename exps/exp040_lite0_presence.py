"""FracAtlas fracture segmentation that begins as the presence classifier of the same fold and seed."""

from exps.exp040_lite0 import Exp040Lite0


class Exp040Lite0Presence(Exp040Lite0):
    warm_start = "exp049_lite0"
