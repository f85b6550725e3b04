"""Patients with images, features and a model per fold, whose true scores are known in closed form."""

from __future__ import annotations

import numpy as np

from simulation.common import Design, Study
from simulation.labels import draw_labels, simulate_labels
from simulation.masks import simulate_masks

__all__ = ["Design", "Study", "draw_labels", "simulate"]


def simulate(
    design: Design, random: np.random.Generator, *, pair: bool = False, equal: bool = False
) -> Study | tuple[Study, Study]:
    """Draw patients, fit a model per fold on the others, tune, and score on the fold and on fresh patients.

    Args:
        design: What to simulate.
        random: Source of the patients.
        pair: Two studies of the same patients instead, without tuning, whose members see halves of the features dealt
            at random, so that neither is better on average.
        equal: Of a pair, the better member of every fold is blurred by noise until both score the same on fresh
            patients: no verdict between them is right.
    """
    return (simulate_masks if design.metric.startswith("dice") else simulate_labels)(design, random, pair, equal)
