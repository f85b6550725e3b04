"""Masks that a table describes: run lengths and boxes, one or several rows per case."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from heldout.data.image import BadFile
from heldout.data.rle import RunLengths
from heldout.data.sources.table.labels import BLANK
from heldout.errors import UserError

EMPTY = ("-1", "1 0", "0 0")  # how competitions write run lengths of nothing
RUNS = re.compile(rf"{EMPTY[0]}|\d+( +\d+)*")
_PREFIX = "rle:"  # begins the text of the index: pairs of class and run lengths, or of class and box
_BOX = "box:"


@dataclass(frozen=True)
class Drawn:
    """Draws what the rows of a case describe, a channel per class.

    Attributes:
        classes: How many there are.
        exclusive: Whether the channels are merged into one label map.
        rle: How run lengths count pixels.
        corners: Whether a box is its first and last column and row, and not its corner, width and height.
        path: The table, for messages.
    """

    classes: int
    exclusive: bool
    rle: RunLengths
    corners: bool
    path: Path

    @staticmethod
    def is_one(text: str) -> bool:
        """Whether a ``mask`` text of the index describes what is to be drawn, and names no file."""
        return text.startswith((_PREFIX, _BOX))

    @staticmethod
    def runs(found: Sequence[tuple[int, str]]) -> str:
        """The ``mask`` text of run lengths by the number of their class; none are an empty mask."""
        return _PREFIX + json.dumps(found)

    @staticmethod
    def boxes(found: Sequence[tuple[int, Sequence[float]]]) -> str:
        """The ``mask`` text of boxes by the number of their class; none are an empty mask."""
        return _BOX + json.dumps(found)

    @staticmethod
    def described(text: str) -> list[tuple[int, str]]:
        """Class and run lengths of a ``mask`` text."""
        return json.loads(text.removeprefix(_PREFIX) or "[]") if text.startswith(_PREFIX) else []

    def read(self, case_id: str, text: str, shape: tuple[int, int]) -> np.ndarray:
        """Mask of a case, uint8 (M, H, W).

        Raises:
            BadFile: runs or boxes leave the image, or masks of exclusive classes overlap.
        """
        masks = np.zeros((self.classes, *shape), np.uint8)
        for number, what in json.loads(text.partition(":")[2]):
            try:
                masks[number] |= self.rle.decode(what, shape) if text.startswith(_PREFIX) else self._box(what, shape)
            except UserError as error:
                raise BadFile(f"case {case_id}: the {error}: correct its row in {self.path}") from None
        if not self.exclusive or len(masks) == 1:
            return masks
        if (masks.sum(0) > 1).any():
            raise BadFile(f"case {case_id}: its masks overlap: set source_options exclusive to False")
        return (masks * np.arange(1, len(masks) + 1, dtype=np.uint8)[:, None, None]).sum(0, dtype=np.uint8)[None]

    def _box(self, numbers: Sequence[float], shape: tuple[int, int]) -> np.ndarray:
        left, top, third, fourth = numbers
        right, bottom = (third, fourth) if self.corners else (left + third, top + fourth)
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


def box_of(cells: Sequence[str], where: str) -> list[float] | None:
    """Numbers of a row's box; None where its cells are empty.

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
        raise UserError(f"{where} has the box {', '.join(cells)}: write four numbers, or leave all four empty")
    return numbers
