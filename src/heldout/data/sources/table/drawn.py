"""Masks that a table describes: run lengths, boxes and points, one or several rows per case."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from heldout.data.image import BadFile
from heldout.data.objects import Named
from heldout.data.rle import RunLengths
from heldout.data.sources.table.labels import BLANK
from heldout.errors import UserError

EMPTY = ("-1", "1 0", "0 0")  # how competitions write run lengths of nothing
RUNS = re.compile(rf"{EMPTY[0]}|\d+( +\d+)*")
_PREFIX = "rle:"  # begins the text of the index: pairs of class and run lengths, or of class and box
_BOX, _POINT = "box:", "point:"


@dataclass(frozen=True)
class Drawn:
    """Draws what the rows of a case describe, a channel per class.

    Attributes:
        classes: How many there are.
        exclusive: Whether the channels are merged into one label map.
        rle: How run lengths count pixels.
        corners: Whether a box is its first and last column and row, and not its corner, width and height.
        radius: Radius of the ball around a point, in voxels.
        path: The table, for messages.
    """

    classes: int
    exclusive: bool
    rle: RunLengths
    corners: bool
    radius: float
    path: Path

    @staticmethod
    def is_one(text: str) -> bool:
        """Whether a ``mask`` text of the index describes what is to be drawn, and names no file."""
        return text.startswith((_PREFIX, _BOX, _POINT))

    @staticmethod
    def runs(found: Sequence[tuple[int, str]]) -> str:
        """The ``mask`` text of run lengths by the number of their class; none are an empty mask."""
        return _PREFIX + json.dumps(found)

    @staticmethod
    def boxes(found: Sequence[tuple[int, Sequence[float]]]) -> str:
        """The ``mask`` text of boxes by the number of their class; none are an empty mask."""
        return _BOX + json.dumps(found)

    @staticmethod
    def points(found: Sequence[tuple[int, Sequence[float]]]) -> str:
        """The ``mask`` text of points by the number of their class; none are an empty mask."""
        return _POINT + json.dumps(found)

    @staticmethod
    def to_voxels(text: str, affine: np.ndarray | None, unit: str) -> str:
        """A ``mask`` text of points in millimeters with points in voxels, from the edge of the first one.

        Args:
            text: Of :meth:`points`.
            affine: Of the image (4, 4), voxel indices to RAS+ millimeters.
            unit: ``lps`` where points count to the left and to the back, ``ras`` to the right and to the front.

        Raises:
            BadFile: the image does not say where it lies.
        """
        if affine is None:
            raise BadFile("points are in millimeters, and their image has no place in space: convert it to NIfTI")
        signs, back = np.array([-1, -1, 1] if unit == "lps" else [1, 1, 1]), np.linalg.inv(affine)
        found = [
            (number, (back[:3, :3] @ (signs * place) + back[:3, 3] + 0.5).tolist())
            for number, place in json.loads(text.removeprefix(_POINT))
        ]
        return Drawn.points(found)

    def objects(self, text: str) -> list[Named] | None:
        """Boxes or points of a ``mask`` text, in the order of the array's axes; None of run lengths."""
        if text.startswith(_PREFIX):
            return None
        found: list[Named] = []
        for number, numbers in json.loads(text.partition(":")[2]):
            if text.startswith(_POINT):
                place = _by_axes(numbers)
                found.append((number, place, place))
            else:
                left, top, right, bottom = self._corners(numbers)
                found.append((number, (top, left), (bottom, right)))
        return found

    @staticmethod
    def described(text: str) -> list[tuple[int, str]]:
        """Class and run lengths of a ``mask`` text."""
        return json.loads(text.removeprefix(_PREFIX) or "[]") if text.startswith(_PREFIX) else []

    def read(self, case_id: str, text: str, shape: tuple[int, ...]) -> np.ndarray:
        """Mask of a case, uint8 (M, *shape).

        Raises:
            BadFile: runs, boxes or points leave the image, or masks of exclusive classes overlap.
        """
        masks = np.zeros((self.classes, *shape), np.uint8)
        for number, what in json.loads(text.partition(":")[2]):
            try:
                if text.startswith(_POINT):
                    self._ball(masks[number], what)
                    continue
                size = (shape[0], shape[1])
                masks[number] |= self.rle.decode(what, size) if text.startswith(_PREFIX) else self._box(what, size)
            except UserError as error:
                raise BadFile(f"case {case_id}: the {error}: correct its row in {self.path}") from None
        if not self.exclusive or len(masks) == 1:
            return masks
        if text.startswith(_POINT):  # balls of neighbors may touch: the first class keeps what they share
            masks = masks * (np.cumsum(masks, 0) == 1).astype(np.uint8)
        if (masks.sum(0) > 1).any():
            raise BadFile(f"case {case_id}: its masks overlap: set source_options exclusive to False")
        labels = np.arange(1, len(masks) + 1, dtype=np.uint8).reshape(-1, *[1] * len(shape))
        return (masks * labels).sum(0, dtype=np.uint8)[None]

    def _corners(self, numbers: Sequence[float]) -> tuple[float, float, float, float]:
        left, top, third, fourth = numbers
        return (left, top, third, fourth) if self.corners else (left, top, left + third, top + fourth)

    def _ball(self, mask: np.ndarray, numbers: Sequence[float]) -> None:
        """Draw what lies within the radius of a point, its own voxel at least, into a mask."""
        place = np.array(_by_axes(numbers))
        if len(place) != mask.ndim or (place < 0).any() or (place > mask.shape).any():
            shown = " ".join(f"{number:g}" for number in numbers)
            raise UserError(f"point {shown} leaves an image of {' x '.join(map(str, mask.shape))} voxels")
        own = np.minimum(place.astype(int), np.array(mask.shape) - 1)
        near = [
            slice(max(0, int(middle - self.radius)), min(length, int(middle + self.radius) + 1))
            for middle, length in zip(place, mask.shape, strict=True)
        ]
        grid = np.meshgrid(*[np.arange(one.start, one.stop) + 0.5 for one in near], indexing="ij")
        distance = sum((axis - middle) ** 2 for axis, middle in zip(grid, place, strict=True))
        mask[tuple(near)] |= (distance <= self.radius**2).astype(np.uint8)
        mask[tuple(own)] = 1

    def _box(self, numbers: Sequence[float], shape: tuple[int, int]) -> np.ndarray:
        left, top, right, bottom = self._corners(numbers)
        shown = f"box {' '.join(f'{number:g}' for number in numbers)}"
        if right <= left or bottom <= top:
            raise UserError(f"{shown} has no area, so corners may be meant as sizes or the other way round")
        if left < -1 or top < -1 or right > shape[1] + 1 or bottom > shape[0] + 1:
            raise UserError(f"{shown} leaves an image of {shape[0]} x {shape[1]} pixels")
        mask = np.zeros(shape, np.uint8)
        mask[
            max(round(top), 0) : max(round(bottom), round(top) + 1),
            max(round(left), 0) : max(round(right), round(left) + 1),
        ] = 1
        return mask


def _by_axes(numbers: Sequence[float]) -> list[float]:
    """A point's x, y or x, y, z in the order of an array's axes: rows come first in images."""
    return list(numbers[::-1] if len(numbers) == 2 else numbers)


def numbers_of(cells: Sequence[str], where: str) -> list[float] | None:
    """Numbers of a row's box or point; None where its cells are empty.

    Raises:
        UserError: some are empty, or hold something else than numbers.
    """
    filled = [cell.strip() for cell in cells if cell.strip().casefold() not in BLANK]
    if not filled:
        return None
    try:
        numbers = [float(cell) for cell in filled]
    except ValueError:
        numbers = []
    if len(numbers) != len(cells) or not np.isfinite(numbers).all():
        what, count = {4: ("box", "four"), 3: ("point", "three"), 2: ("point", "two")}[len(cells)]
        raise UserError(f"{where} has the {what} {', '.join(cells)}: write {count} numbers, or leave all {count} empty")
    return numbers
