"""Greedy ensemble selection: the baseline that every search has to beat, and a good place for it to start from."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from heldout.blend.values import to_thousandths

_ROUNDS = 40  # members put in, so that weights come in steps down to a fortieth
_PATIENCE = 8  # rounds without a better score


def climb(
    score: Callable[[tuple[int, ...]], float], members: int, fits: Callable[[list[int]], bool] = lambda _: True
) -> tuple[int, ...]:
    """Hill climbing with replacement (Caruana et al. 2004): from the best member on, put in whichever helps most.

    A member may be put in again, which is how it gains weight. The climb continues over rounds that help nothing; the
    best of all the rounds is kept, and of equals the first.

    Args:
        score: Score of a weighting in thousandths; higher is better.
        members: Number of members.
        fits: Whether members may have weights together; one at least fits alone.

    Returns:
        The weights.
    """
    counts = np.zeros(members, int)
    best_weights: tuple[int, ...] = ()
    best, since = -np.inf, 0
    for _ in range(_ROUNDS):
        more = [grown for one in np.eye(members, dtype=int) if fits(np.flatnonzero(grown := counts + one).tolist())]
        candidates = [to_thousandths(grown) for grown in more]
        scores = [score(weights) for weights in candidates]
        chosen = int(np.argmax(scores))
        counts = more[chosen]
        since += 1
        if not best_weights or scores[chosen] > best:
            best, best_weights, since = scores[chosen], candidates[chosen], 0
        if since >= _PATIENCE:
            break
    return best_weights
