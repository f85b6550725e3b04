"""Lesions, learned more slowly and with one seed."""

from exps.exp911 import Exp911


class Exp912(Exp911):
    lr = 1e-2
    seeds = (0,)
    tta = "h"
