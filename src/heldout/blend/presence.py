"""Is a class there at all? A tuned mix of what a blended map says of it, and of what classifications say.

Everything about a map is computed from the numbers of its voxels at each of the 256 levels, so that it comes out the
same whether those were counted on the map or on the joint histogram of its members.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from heldout.blend.values import LEVELS, blend_scores
from heldout.metrics.masks import PRESENCE_MIN, PRESENCE_SHARE
from heldout.predict.prediction import HALF


def levels_of_map(map_: np.ndarray) -> np.ndarray:
    """(K, 256) float64: number of voxels of a (K, *spatial) uint8 map at each level."""
    return np.stack([np.bincount(channel.ravel(), minlength=LEVELS) for channel in map_]).astype(float)


def map_scores(levels: np.ndarray, thresholds: Sequence[int]) -> np.ndarray:
    """What a map says of each class's presence.

    Args:
        levels: (..., K, 256) number of voxels at each level.
        thresholds: (K,) smallest level that counts as a class; empty, where classes are exclusive, is one half.

    Returns:
        (3, ..., K) float64 in 0 ... 1, in the order of :data:`heldout.blend.records.OF_MAP`: the mean of the 0.1 % most
        probable voxels (:func:`heldout.predict.prediction.presence`); the highest probability; and
        log(1 + a) / log(1 + n) of the a voxels of n that reach the threshold, which rises with the area and tells one
        voxel from none.
    """
    limits = np.asarray(thresholds if len(thresholds) else [HALF] * levels.shape[-2])
    reached = np.where(np.arange(LEVELS) >= limits[:, None], levels, 0).sum(-1)
    highest = LEVELS - 1 - np.argmax(np.flip(levels, -1) > 0, -1)
    area = np.log1p(reached) / np.log1p(levels.sum(-1))
    return np.stack([presence_of_levels(levels).astype(float), highest / (LEVELS - 1), area])


def fuse(of_map: np.ndarray, of_labels: np.ndarray, shares: Sequence[int]) -> np.ndarray:
    """Mix scores.

    Args:
        of_map: (3, ..., K) from :func:`map_scores`.
        of_labels: (L, ..., K) probabilities: of classifications, or of any other source that classifies the whole case,
            such as a second head of a segmenting network.
        shares: (3 + L,) thousandths.

    Returns:
        (..., K) float64 in 0 ... 1.
    """
    return blend_scores([*of_map, *of_labels], shares)


def presence_of_levels(levels: np.ndarray) -> np.ndarray:
    """Presence scores from numbers of voxels at each probability: equal to those of the maps.

    Args:
        levels: (..., 256) float64.

    Returns:
        (...) float32 in 0 ... 1, as :func:`heldout.predict.prediction.presence` of a map.
    """
    wanted = presence_voxels(levels.sum(-1, keepdims=True))
    from_top = np.minimum(np.flip(levels, -1).cumsum(-1), wanted)
    total = np.diff(from_top, axis=-1, prepend=0.0) @ np.arange(LEVELS - 1, -1, -1.0)
    return (total / (wanted[..., 0] * 255)).astype(np.float32)


def presence_voxels(size: np.ndarray) -> np.ndarray:
    """How many of the most probable voxels a presence score is the mean of, for maps of (...) voxels."""
    return np.minimum(np.maximum(PRESENCE_MIN, np.rint(PRESENCE_SHARE * size)), size)
