"""Foreground voxels of a prepared mask, around which training draws patches."""

from __future__ import annotations

import hashlib

import numpy as np

from heldout.metrics.ignored import IGNORED

FOREGROUND = 1000  # voxels remembered per case


def sample_foreground(mask: np.ndarray, case_id: str) -> np.ndarray:
    """Draw up to 1000 foreground voxels, equally many of every class where there are enough.

    Args:
        mask: (M, *S): one label map, or one binary channel per class.
        case_id: Seeds the draw.

    Returns:
        int32 (N, 1 + dimensions): class index, then position, sorted; ignored voxels are never drawn.

    Example:
        >>> import numpy as np
        >>> sample_foreground(np.array([[[0, 1], [2, 0]]], np.uint8), "case1").tolist()
        [[0, 0, 1], [1, 1, 0]]
    """
    seed = int.from_bytes(hashlib.sha256(case_id.encode()).digest()[:8], "big")
    generator = np.random.default_rng(seed)
    if len(mask) == 1:
        flat = mask[0].ravel()
        values = np.unique(flat[(flat > 0) & (flat != IGNORED)]).astype(int)
        found = {value - 1: np.flatnonzero(flat == value) for value in values}
    else:
        found = {number: np.flatnonzero(channel == 1) for number, channel in enumerate(mask) if (channel == 1).any()}
    if not found:
        return np.empty((0, mask.ndim), np.int32)
    drawn, left = [], FOREGROUND
    for rest, (number, voxels) in zip(
        range(len(found), 0, -1), sorted(found.items(), key=lambda item: len(item[1])), strict=True
    ):
        take = min(len(voxels), left // rest)
        left -= take
        position = np.unravel_index(generator.choice(voxels, take, replace=False), mask.shape[1:])
        drawn.append(np.stack([np.full(take, number), *position], axis=1))
    return np.unique(np.concatenate(drawn), axis=0).astype(np.int32)
