"""Greedy ensemble selection: the baseline that every search has to beat, and a good place for it to start from."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from heldout.blend.values import to_thousandths

_ROUNDS = 40  # members put in, so that weights come in steps down to a fortieth
_PATIENCE = 8  # rounds without a better score


def climb(score: Callable[[tuple[int, ...]], float], members: int) -> tuple[int, ...]:
    """Hill climbing with replacement (Caruana et al. 2004): from the best member on, put in whichever helps most.

    A member may be put in again, which is how it gains weight. The climb continues over rounds that help nothing; the
    best of all the rounds is kept, and of equals the first.

    Args:
        score: Score of a weighting in thousandths; higher is better.
        members: Number of members.

    Returns:
        The weights.
    """
    counts = np.zeros(members, int)
    best_weights: tuple[int, ...] = ()
    best, since = -np.inf, 0
    for _ in range(_ROUNDS):
        candidates = [to_thousandths(counts + one) for one in np.eye(members, dtype=int)]
        scores = [score(weights) for weights in candidates]
        chosen = int(np.argmax(scores))
        counts[chosen] += 1
        since += 1
        if not best_weights or scores[chosen] > best:
            best, best_weights, since = scores[chosen], candidates[chosen], 0
        if since >= _PATIENCE:
            break
    return best_weights
