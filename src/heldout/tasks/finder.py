"""What a detection task says of its objects: how peaks of its heat map become points or boxes."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict

from heldout.records import Number, Record

AXES = {2: ("y", "x"), 3: ("x", "y", "z")}  # names of an array's axes
SIZES = {2: ("h", "w"), 3: ("w", "h", "d")}
CASE, COUNT = "case", "number"  # in a submission: the case of a detection, and the number of its row


def detection_fields(dimensions: int) -> tuple[str, ...]:
    """What a submission may say of a detection.

    Example:
        >>> detection_fields(2)[:7]
        ('class', 'class_id', 'score', 'y', 'y1', 'y2', 'cy')
    """
    of_axes = [name for axis in AXES[dimensions] for name in (axis, f"{axis}1", f"{axis}2", f"c{axis}")]
    return ("class", "class_id", "score", *of_axes, *SIZES[dimensions])


class Finder(Record):
    """How detections are found in a heat map, see :func:`heldout.predict.peaks.find_detections`.

    Attributes:
        objects: What detections are.
        box_scale: Factor from the region of a peak to its box.
        min_score: Lowest score of a detection.
        most: Detections of a case and class.
        kept: Whether those below the threshold are left out of what is shipped; of a decision alone.
    """

    model_config = ConfigDict(extra="forbid")

    objects: Literal["boxes", "points"]
    box_scale: Number = 1.0
    min_score: Number = 0.05
    most: int = 100
    kept: bool = False
