"""Which cases an epoch shows, and which patch of each: pure functions of seeds, free of torch."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence

import numpy as np

from heldout.data.patches import center
from heldout.errors import UserError


def derive_seed(*parts: int | str) -> int:
    """A 64-bit seed for a place in a run, such as ``(seed, fold, epoch, position)``.

    Hashing, unlike adding, gives neighboring places unrelated seeds, and takes any number of parts.
    """
    text = "/".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def seed_globals(seed: int) -> None:
    """Seed the global generators of Python and numpy, for code of an experiment that draws from them."""
    random.seed(seed)
    np.random.seed(seed % 2**32)


def epoch_length(cases: int, batch_size: int, steps: int | None) -> int:
    """Samples of an epoch: full batches only, enough of them to see every case once where ``steps`` is None."""
    return batch_size * (steps or -(-cases // batch_size))


def draw_cases(
    positive: np.ndarray,
    count: int,
    share: float | None,
    generator: np.random.Generator,
    hard: int = 0,
    hard_share: float = 0.0,
) -> np.ndarray:
    """Draw the cases of one epoch, each as often as the others of its kind, give or take one.

    Args:
        positive: (cases,) bool, whether a case shows any class.
        count: Samples wanted.
        share: Expected share of samples from positive cases; None draws all cases alike.
        generator: Source of the draws.
        hard: Number of hard negatives; needs a share of positives.
        hard_share: Expected share of the negative samples that are hard negatives, where there are any.

    Returns:
        (count,) indices of cases, in random order; ``len(positive) + i`` is the hard negative number i.

    Raises:
        UserError: a share is wanted where all cases are of one kind.
    """
    everything = np.arange(len(positive))
    if share is None:
        return _repeated(everything, count, generator)
    if positive.all() or not positive.any():
        kind = "positive" if positive.all() else "negative"
        raise UserError(f"positive_fraction = {share} needs positive and negative cases, but all are {kind}: unset it")
    # the fraction of a sample that is left over is drawn, so that the expectation is exact
    wanted = int(np.floor(share * count + generator.random()))
    wanted_hard = int(np.floor(hard_share * (count - wanted) + generator.random())) if hard else 0
    drawn = [
        _repeated(everything[positive], wanted, generator),
        _repeated(everything[~positive], count - wanted - wanted_hard, generator),
    ]
    if hard:
        drawn.append(_repeated(len(positive) + np.arange(hard), wanted_hard, generator))
    return generator.permutation(np.concatenate(drawn))


def _repeated(items: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    rounds = -(-count // len(items))
    return np.concatenate([generator.permutation(items) for _ in range(max(rounds, 1))])[:count]


def draw_patch(
    size: Sequence[int],
    patch: Sequence[int],
    foreground: np.ndarray | None,
    generator: np.random.Generator,
) -> tuple[int, ...]:
    """Draw where a patch begins.

    Args:
        size: Spatial shape of the case.
        patch: Shape of the patch.
        foreground: (N, 1 + dimensions) class index and position of known foreground voxels: the patch is centered
            near one of them, of a class drawn first, so that small classes are seen as often as large ones. None or
            empty draws uniformly among all patches inside the case.
        generator: Source of the draws.

    Returns:
        First voxel on each axis; negative where the case is smaller than the patch, which then surrounds it evenly.
    """
    room = [length - wanted for length, wanted in zip(size, patch, strict=True)]
    if foreground is None or len(foreground) == 0:
        wish = [int(generator.integers(0, max(free, 0) + 1)) for free in room]
    else:
        kinds = np.unique(foreground[:, 0])
        voxels = foreground[foreground[:, 0] == generator.choice(kinds), 1:]
        voxel = voxels[generator.integers(len(voxels))]
        # up to a quarter off the center, so that the network does not learn that the center is always foreground
        shift = [int(generator.integers(-(wanted // 4), wanted // 4 + 1)) for wanted in patch]
        wish = [int(at) - wanted // 2 + by for at, wanted, by in zip(voxel, patch, shift, strict=True)]
    middle = center(size, patch)
    return tuple(
        even if free < 0 else min(max(start, 0), free) for start, free, even in zip(wish, room, middle, strict=True)
    )
