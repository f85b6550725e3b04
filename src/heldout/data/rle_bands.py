"""Run lengths of masks that are never in memory as a whole."""

from __future__ import annotations

import numpy as np

from heldout.data.rle import RunLengths

_WRITTEN = 2**16  # numbers that become text at a time


class RunWriter:
    """Collects a mask band by band, from the first row to the last, and gives the text of the whole.

    It is that of :meth:`RunLengths.encode`.

    Memory grows with the number of runs, not with the mask.

    Args:
        shape: (H, W) of the whole mask.
        runs: How its pixels are counted.
    """

    def __init__(self, shape: tuple[int, int], runs: RunLengths) -> None:
        self.shape, self.runs = shape, runs
        self._starts: list[np.ndarray] = []
        self._ends: list[np.ndarray] = []
        self._last: np.ndarray | None = None  # the last row so far, whose runs may go on

    def add(self, band: np.ndarray, row: int) -> None:
        """Take the rows ``row`` and on, (h, W); everything but zero is foreground."""
        height, width = self.shape
        by_columns = self.runs.order == "columns"
        lines = (band.T if by_columns else band) != 0
        edge = np.zeros((len(lines), 1), bool)
        before = self._last if by_columns and self._last is not None else edge
        open_end = by_columns and row + len(band) < height
        self._last = lines[:, -1:].copy()
        steps = np.diff(np.concatenate([before, lines, *([] if open_end else [edge])], axis=1).view(np.int8), axis=1)
        for found, sign in ((self._starts, 1), (self._ends, -1)):
            line, place = np.nonzero(steps == sign)
            found.append(line * height + place + row if by_columns else (line + row) * width + place)

    def text(self) -> str:
        """The runs of all bands, those that touch put together."""
        starts = np.sort(np.concatenate([*self._starts, np.empty(0, np.int64)]))
        ends = np.sort(np.concatenate([*self._ends, np.empty(0, np.int64)]))
        apart = starts[1:] != ends[:-1]
        starts = starts[np.concatenate([[True], apart])] if len(starts) else starts
        ends = ends[np.concatenate([apart, [True]])] if len(ends) else ends
        pairs = np.stack([starts + self.runs.start, ends - starts], axis=1).ravel()
        parts = (pairs[first : first + _WRITTEN].tolist() for first in range(0, len(pairs), _WRITTEN))
        return " ".join(" ".join(map(str, part)) for part in parts)


def decode_region(text: str, shape: tuple[int, int], runs: RunLengths, box: tuple[int, int, int, int]) -> np.ndarray:
    """The part of a mask in a box, without the whole.

    Args:
        text: Run lengths of the whole.
        shape: (H, W) of the whole.
        runs: How its pixels are counted.
        box: First row, first column, height and width.

    Returns:
        (height, width) of 0 and 1, uint8.

    Raises:
        UserError: as :meth:`RunLengths.runs`.
    """
    starts, ends = (values.astype(np.int64) - runs.start for values in runs.runs(text))
    length = shape[0] if runs.order == "columns" else shape[1]
    row, column, height, width = box
    (line, lines), (place, places) = ((column, width), (row, height))
    if runs.order == "rows":
        (line, lines), (place, places) = (place, places), (line, lines)
    found = np.zeros((lines, places), np.uint8)
    first, last = np.searchsorted(ends, line * length, "right"), np.searchsorted(starts, (line + lines) * length)
    for start, end in zip(starts[first:last].tolist(), ends[first:last].tolist(), strict=True):
        for number in range(max(start // length, line), min((end - 1) // length, line + lines - 1) + 1):
            begin, stop = max(start - number * length, place), min(end - number * length, place + places)
            if begin < stop:
                found[number - line, begin - place : stop - place] = 1
    return found.T if runs.order == "columns" else found
