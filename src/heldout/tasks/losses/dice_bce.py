"""Dice and binary cross-entropy, for one class or classes that may overlap."""

from __future__ import annotations

from heldout.tasks.losses.dice_ce import DiceCE


class DiceBCE(DiceCE):
    """As :class:`DiceCE`, over a sigmoid Dice and a binary cross-entropy."""
