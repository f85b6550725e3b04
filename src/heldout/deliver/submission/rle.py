"""Run-length encoding of masks as Kaggle reads it: pixels counted down the columns, from 1."""

from __future__ import annotations

import numpy as np

from heldout.errors import UserError

_LONGEST = 18  # digits of a number; Python itself refuses to read thousands


def encode(mask: np.ndarray) -> str:
    """Encode a binary mask as ``"start length start length ..."``.

    Args:
        mask: Array (H, W); everything but zero is foreground.

    Returns:
        Runs in order of their start, which counts from 1 down the first column; empty text for an empty mask.
    """
    pixels = np.concatenate([[0], mask.ravel(order="F") != 0, [0]]).astype(np.int8)
    edges = np.flatnonzero(np.diff(pixels)) + 1
    edges[1::2] -= edges[::2]
    return " ".join(map(str, edges.tolist()))


def runs(text: str) -> tuple[np.ndarray, np.ndarray]:
    """Starts and ends (the pixel after the last) of the runs that a text names, counted from 1.

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
    if len(numbers) % 2:
        raise UserError(f"{shown} holds {len(numbers)} numbers; starts and lengths come in pairs")
    starts, lengths = numbers[::2], numbers[1::2]
    ends = starts + lengths
    if len(numbers) and starts[0] < 1:
        raise UserError(f"{shown} begins at pixel {starts[0]}, but pixels count from 1")
    if (lengths < 1).any() or (starts[1:] < ends[:-1]).any():
        raise UserError(f"{shown} holds empty or overlapping runs")
    return starts, ends


def decode(text: str, shape: tuple[int, int]) -> np.ndarray:
    """Turn :func:`encode`'s text back into a mask.

    Args:
        text: Runs; empty text is an empty mask.
        shape: (H, W) of the mask.

    Returns:
        Array (H, W) of 0 and 1, uint8.

    Raises:
        UserError: an odd count of numbers, something that is not a number, or runs that overlap or leave the image.
    """
    starts, ends = runs(text)
    if len(ends) and ends[-1] - 1 > shape[0] * shape[1]:
        raise UserError(f"run-length text {text[:40]!r} leaves an image of {shape[0]} x {shape[1]} pixels")
    flat = np.zeros(shape[0] * shape[1], dtype=np.uint8)
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        flat[start - 1 : end - 1] = 1
    return flat.reshape(shape, order="F")
