"""Run-length encoding of masks, as competitions write them: ``"start length start length ..."``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from heldout.errors import UserError

Order = Literal["columns", "rows"]
Form = Literal["length", "end", "gap", "pixels"]
_LONGEST = 18  # digits of a number; Python itself refuses to read thousands


@dataclass(frozen=True)
class RunLengths:
    """How the pixels of a mask are counted.

    Attributes:
        order: ``columns`` counts down the first column, then down the next (most Kaggle competitions); ``rows`` counts
            along the rows.
        start: Number of the first pixel, 1 or 0.
        form: What the numbers are: ``length`` pairs of start and length; ``end`` pairs of first and last pixel; ``gap``
            pairs of the pixels skipped since the run before and the length (SIIM-ACR); ``pixels`` every pixel.

    Example:
        >>> import numpy as np
        >>> mask = np.array([[0, 1, 0], [1, 1, 0]])
        >>> RunLengths().encode(mask), RunLengths("rows", 0).encode(mask)
        ('2 3', '1 1 3 2')
        >>> [RunLengths("rows", 0, form).encode(mask) for form in ("end", "gap", "pixels")]
        ['1 1 3 4', '1 1 1 2', '1 3 4']
    """

    order: Order = "columns"
    start: int = 1
    form: Form = "length"

    @property
    def flipped(self) -> RunLengths:
        """The same with the other order."""
        return replace(self, order="rows" if self.order == "columns" else "columns")

    def encode(self, mask: np.ndarray) -> str:
        """Encode a binary mask.

        Args:
            mask: Array (H, W); everything but zero is foreground.

        Returns:
            Runs in the order of their starts; empty text for an empty mask.
        """
        pixels = np.concatenate([[0], mask.ravel(order=self._layout) != 0, [0]]).astype(np.int8)
        edges = np.flatnonzero(np.diff(pixels))
        starts, ends = edges[::2], edges[1::2]
        if self.form == "pixels":
            numbers = np.flatnonzero(pixels[1:-1]) + self.start
        elif self.form == "gap":
            first = starts + np.where(np.arange(len(starts)) == 0, self.start, 0)
            numbers = np.stack([first - np.concatenate([[0], ends[:-1]])[: len(starts)], ends - starts], axis=1)
        else:
            second = ends - starts if self.form == "length" else ends - 1 + self.start
            numbers = np.stack([starts + self.start, second], axis=1)
        return " ".join(map(str, numbers.ravel().tolist()))

    def runs(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """Starts and ends (the pixel after the last) of the runs that a text names, counted as it counts.

        Raises:
            UserError: an odd count of numbers, something that is not a number, or runs that are empty or overlap.
        """
        shown = f"run-length text {text[:40]!r}"
        if not set(text) <= set("0123456789 "):
            raise UserError(f"{shown} holds something that is not a whole number")
        parts = text.split()
        if max(map(len, parts), default=0) > _LONGEST:
            raise UserError(f"{shown} holds a number of more than {_LONGEST} digits, which leaves any image")
        numbers = np.array([int(part) for part in parts], dtype=object)
        if len(numbers) % 2 and self.form != "pixels":
            raise UserError(f"{shown} holds {len(numbers)} numbers; starts and lengths come in pairs")
        if self.form == "pixels":
            starts, lengths = numbers, np.ones(len(numbers), object)
        elif self.form == "end":
            starts, lengths = numbers[::2], numbers[1::2] - numbers[::2] + 1
        elif self.form == "gap":
            starts, lengths = np.cumsum(numbers)[::2], numbers[1::2]
        else:
            starts, lengths = numbers[::2], numbers[1::2]
        ends = starts + lengths
        if len(numbers) and starts[0] < self.start:
            raise UserError(f"{shown} begins at pixel {starts[0]}, but pixels count from {self.start}")
        if (lengths < 1).any() or (starts[1:] < ends[:-1]).any():
            raise UserError(f"{shown} holds empty or overlapping runs")
        return starts, ends

    def decode(self, text: str, shape: tuple[int, int]) -> np.ndarray:
        """Turn :meth:`encode`'s text back into a mask.

        Args:
            text: Runs; empty text is an empty mask.
            shape: (H, W) of the mask.

        Returns:
            Array (H, W) of 0 and 1, uint8.

        Raises:
            UserError: as :meth:`runs`, or a run leaves the image.
        """
        starts, ends = self.runs(text)
        if len(ends) and ends[-1] - self.start > shape[0] * shape[1]:
            raise UserError(f"run-length text {text[:40]!r} leaves an image of {shape[0]} x {shape[1]} pixels")
        flat = np.zeros(shape[0] * shape[1], dtype=np.uint8)
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
            flat[start - self.start : end - self.start] = 1
        return flat.reshape(shape, order=self._layout)

    def of_classes(self, mask: np.ndarray, classes: tuple[str, ...], empty: str = "") -> dict[str, str]:
        """Text of every class, ``empty`` where it has no pixel; each is decoded again and must give the mask.

        Args:
            mask: A label map (1, H, W), or one channel per class (K, H, W).
            classes: Names of the K classes.
            empty: Text of an empty mask.
        """
        channels = [mask[0] == index + 1 for index in range(len(classes))] if len(mask) == 1 else mask
        texts = {label: self.encode(channel) for label, channel in zip(classes, channels, strict=True)}
        for (label, text), channel in zip(texts.items(), channels, strict=True):
            if not np.array_equal(self.decode(text, channel.shape), channel != 0):
                raise ValueError(f"the run-length text of {label} does not decode to its mask")
        return {label: text or empty for label, text in texts.items()}

    @property
    def _layout(self) -> Literal["F", "C"]:
        return "F" if self.order == "columns" else "C"


COLUMNS = RunLengths()


def fits_better_flipped(cases: Iterable[tuple[str, np.ndarray]], runs: RunLengths) -> str:
    """Compare both orders on masks and their images.

    Where an image is not square, the wrong order tears a mask into stripes, which have more edges. Where it is square,
    the wrong order gives the mask turned over at the diagonal, whose outline does not follow the image's edges.

    Args:
        cases: Text of a mask that is not empty, and its image (H, W) in gray.
        runs: How the masks are decoded.

    Returns:
        How many of the masks speak for the other order, in words; "" unless it is the clear majority.
    """
    votes = {True: 0, False: 0}
    needed = _FEW
    for text, image in cases:
        height, width = image.shape
        one, other = (way.decode(text, (height, width)) != 0 for way in (runs, runs.flipped))
        scores = [(_contrast if height == width else _smoothness)(mask, image) for mask in (one, other)]
        if max(scores) > _CLEARLY * min(scores):
            votes[scores[1] > scores[0]] += 1
            needed = min(needed, _FEW if height == width else 1)
    if votes[True] < max(needed, 4 * votes[False] + 1):
        return ""
    return f"{votes[True]} of {sum(votes.values())} masks fit their images better when they are counted by " + (
        runs.flipped.order
    )


_FEW = 5  # square images that must speak for the other order: any outline meets some edges by chance
_CLEARLY = 1.1


def _smoothness(mask: np.ndarray, image: np.ndarray) -> float:  # noqa: ARG001 - in the place of _contrast
    """Pixels for every edge between foreground and background."""
    edges = (mask[1:] != mask[:-1]).sum() + (mask[:, 1:] != mask[:, :-1]).sum()
    return float(mask.sum() / max(edges, 1))


def _contrast(mask: np.ndarray, image: np.ndarray) -> float:
    """Mean step of the image across the edges of a mask."""
    steps = [np.abs(np.diff(image, axis=axis))[np.diff(mask.astype(np.int8), axis=axis) != 0] for axis in (0, 1)]
    return float(np.concatenate(steps).mean()) if sum(map(len, steps)) else 0.0
