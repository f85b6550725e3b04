"""Lesions, learned more slowly; sealed by earlier code."""

from exps.exp921 import Exp921


class Exp922(Exp921):
    lr = 1e-2
    tta = "h"
