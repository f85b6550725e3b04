"""Lesions, seen beside what exp921 found of them; sealed by earlier code."""

from exps.exp921 import Exp921


class Exp925(Exp921):
    first_stage = "exp921"
    epochs = 1
