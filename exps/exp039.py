"""Hippocampus in one learning-rate cycle of 32 epochs, two seeds."""

from exps.exp030_short import Exp030Short


class Exp039(Exp030Short):
    epochs = 32
    seeds = (0, 1)
