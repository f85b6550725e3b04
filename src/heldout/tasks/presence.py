"""How many voxels say whether a class is there at all: shared by the loss that trains presence and the score of it."""

from __future__ import annotations

PRESENCE_SHARE = 0.001
PRESENCE_MIN = 10


def presence_count(voxels: int) -> int:
    """Of a map of so many voxels, how many of the most probable ones its presence score is the mean of."""
    return min(voxels, max(PRESENCE_MIN, round(PRESENCE_SHARE * voxels)))
