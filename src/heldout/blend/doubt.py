"""How unsure a decision is of one case, by what it says of it: one number, in nats."""

from __future__ import annotations

import numpy as np

from heldout.blend.records import Abstention
from heldout.metrics.uncertainty import decompose


def case_doubt(exclusive: bool, scores: np.ndarray, blended: np.ndarray | None, mask: np.ndarray | None) -> float:
    """Entropy of a case's probabilities; of a segmentation, the mean over its mask, or of presence where that is empty.

    Args:
        exclusive: The classes exclude each other.
        scores: (K,) probabilities of the case.
        blended: (K, *spatial) uint8 map of a segmentation.
        mask: (M, *spatial) uint8 mask of a segmentation.
    """
    if blended is None or mask is None:
        return float(decompose([scores.astype(np.float64)], exclusive=exclusive, background=False).total)
    inside = np.any(mask > 0, axis=0)
    if not inside.any():
        return float(decompose([scores.astype(np.float64)], exclusive=False, background=True).total)
    return float(decompose([blended[:, inside]], exclusive=exclusive, background=True).total.mean())


def reason_of(abstention: Abstention, doubt: float) -> str:
    """Why a case is left to people, in one sentence; empty where it is answered."""
    if not abstention or doubt <= abstention.cut:
        return ""
    return f"the entropy of the prediction is {doubt:.3f} nats, above the cut of {abstention.cut:.3f}"
