"""What a first stage found, put to use as a second stage's case is prepared: as further channels, or to crop by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from heldout.data.geometry import Geometry, crop, orient, pad
from heldout.data.image import BadFile
from heldout.data.resample import resample_linear

if TYPE_CHECKING:
    from heldout.data.image import Image

Use = Literal["channel", "crop"]


@dataclass(frozen=True, eq=False)
class FirstStageMap:
    """A first stage's map of a case.

    Attributes:
        map: (K, *original) uint8 probabilities in steps of 1/255, on the grid of the case's own file.
        use: ``channel`` adds the map to the image, ``crop`` cuts the image where the map is highest.
        fraction: Sides of the crop as fractions of the case's.
    """

    map: np.ndarray
    use: Use
    fraction: float

    def content(self, image: Image) -> np.ndarray:
        """The part of the map of which the image's file has pixels.

        Raises:
            BadFile: the map is of another grid.
        """
        if self.map.shape[1:] != image.full_shape:
            raise BadFile(
                f"the map of the first stage has the shape {self.map.shape[1:]}, the image {image.full_shape}"
            )
        lost = image.lost or ((0, 0),) * (self.map.ndim - 1)
        parts = [slice(before, size - after) for (before, after), size in zip(lost, image.full_shape, strict=True)]
        return self.map[(slice(None), *parts)]

    def box(self, image: Image, axes: Sequence[int], flips: Sequence[bool]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Start and shape of the crop on the oriented grid: where the map, summed over the classes, holds most."""
        found = orient(self.content(image), axes, flips).sum(axis=0, dtype=np.int64)
        shape = tuple(max(1, round(self.fraction * length)) for length in found.shape)
        return fullest(found, shape), shape

    def channels(self, image: Image, geometry: Geometry, dtype: np.dtype) -> np.ndarray:
        """The map on the prepared grid, (K, *prepared), in the numbers of a prepared array of that type."""
        values = resample_linear(crop(self.content(image), geometry).astype(np.float32), geometry.resized)
        values = pad(values, geometry)
        return np.rint(values).astype(np.uint8) if dtype == np.uint8 else (values / np.float32(255)).astype(dtype)


class FirstStageMaps(Protocol):
    """The maps of a dataset's training cases; can be sent to another process."""

    @property
    def key(self) -> str:
        """SHA-256 of the maps and of how they are used."""
        ...

    @property
    def use(self) -> Use:
        """How they are used."""
        ...

    @property
    def fraction(self) -> float:
        """Sides of the crop as fractions of the case's."""
        ...

    def read(self, case_id: str) -> np.ndarray:
        """Map (K, *original) uint8 of a training case, made by networks that never saw it."""
        ...


def first_stage_map(first_stage: FirstStageMaps | None, case_id: str) -> FirstStageMap | None:
    """The first stage's map of a training case, where there is a first stage."""
    return (
        None if first_stage is None else FirstStageMap(first_stage.read(case_id), first_stage.use, first_stage.fraction)
    )


def fullest(values: np.ndarray, shape: Sequence[int]) -> tuple[int, ...]:
    """Start of the window with the greatest sum; of several, the one nearest to their middle, ties to the first.

    Args:
        values: (*S) whole numbers, none negative.
        shape: Of the window, on no axis more than S.
    """
    sums = values.astype(np.int64)
    for axis, length in enumerate(shape):
        running = np.cumsum(np.insert(sums, 0, 0, axis=axis), axis=axis)
        count = running.shape[axis] - length
        sums = np.take(running, np.arange(length, length + count), axis) - np.take(running, np.arange(count), axis)
    best = np.argwhere(sums == sums.max())
    away = ((best - np.rint(best.mean(axis=0))) ** 2).sum(axis=1)  # the middle itself may hold less
    return tuple(int(place) for place in best[away.argmin()])
