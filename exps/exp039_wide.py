"""Hippocampus in one learning-rate cycle of 32 epochs, with twice the channels."""

from exps.exp039 import Exp039


class Exp039Wide(Exp039):
    filters = (32, 64, 128, 256)
    seeds = (0,)
    budgets = {"production": {"epochs": 60}}
