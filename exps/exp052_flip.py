"""Phantom aneurysms with x-flip TTA: left and right classes are swapped in the mirror image."""

from exps.exp052 import Exp052


class Exp052Flip(Exp052):
    tta = "x"
