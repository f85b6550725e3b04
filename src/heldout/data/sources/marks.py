"""Annotations of an image: polygons, run lengths and boxes, and how they are drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from heldout.data.image import BadFile


@dataclass(frozen=True)
class Mark:
    """An annotation.

    Attributes:
        number: Its id.
        image: Id of its image.
        category: Name of its category.
        segment: Polygons, run lengths, compressed or not, or None.
        box: Left, top, width and height, or None.
    """

    number: str
    image: str
    category: str
    segment: Any
    box: Any

    @property
    def kind(self) -> Literal["boxes", "polygons", "run lengths", "compressed run lengths"]:
        """What it is drawn as."""
        if not self.segment:
            return "boxes"
        if isinstance(self.segment, list):
            return "polygons"
        return "run lengths" if isinstance(self.segment.get("counts"), list) else "compressed run lengths"


def draw(mark: Mark, shape: tuple[int, int], where: str, *, as_box: bool = False) -> np.ndarray:
    """Mask (H, W) of an annotation.

    Args:
        mark: The annotation.
        shape: (H, W) of its image.
        where: What messages call the image.
        as_box: Fill its box, whatever else it has.

    Raises:
        BadFile: it is damaged, or of another shape.
    """
    from pycocotools import mask as coder

    try:
        if as_box or mark.kind == "boxes":
            left, top, wide, high = map(float, mark.box)
            around = [left, top, left + wide, top, left + wide, top + high, left, top + high]
            parts = coder.frPyObjects([around], *shape)
        elif mark.kind == "polygons":
            parts = coder.frPyObjects(mark.segment, *shape)
        else:
            packed = mark.kind == "compressed run lengths"
            parts = [mark.segment if packed else coder.frPyObjects(mark.segment, *mark.segment["size"])]
        decoded = coder.decode(parts).max(axis=2)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise BadFile(
            f"annotation {mark.number} of {where} cannot be drawn ({type(error).__name__}: {error}): correct it"
        ) from None
    if decoded.shape != shape:
        raise BadFile(
            f"annotation {mark.number} of {where} is of {decoded.shape[0]} x {decoded.shape[1]} pixels, the image "
            f"of {shape[0]} x {shape[1]}: the file was rotated or resized, restore it"
        )
    return decoded
