"""FracAtlas, multi-task: presence and mask of fractures on one encoder (Caruana 1997)."""

from exps.exp040 import Exp040
from heldout.tasks.both import Both2D


class Exp045(Exp040, Both2D):
    label_weight = 0.5
