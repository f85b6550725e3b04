"""Phantom lesions in 2D with two heads: which lesion sizes, and where, on one encoder (Caruana 1997)."""

from exps.exp001 import Exp001
from heldout.tasks.multitask import MultiTask2D


class Exp006(Exp001, MultiTask2D):
    label_weight = 0.5
