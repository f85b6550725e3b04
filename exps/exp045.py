"""FracAtlas, multi-task: presence and mask of fractures on one encoder (Caruana 1997)."""

from exps.exp040 import Exp040
from heldout.tasks.multitask import MultiTask2D


class Exp045(Exp040, MultiTask2D):
    label_weight = 0.5
