"""One case reduced to its distinct voxels, in about the time that its maps take to be read."""

from __future__ import annotations

import numpy as np
import pandas as pd

_MOST = np.iinfo(np.uint16).max
_BYTES = 8  # of one sortable number
_MIX = np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio, as in Fibonacci hashing (Knuth, volume 3, 6.4)


def distinct_voxels(maps: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Reduce one case to its distinct voxels.

    Args:
        maps: (members, C, *S) uint8.
        truth: (*S) uint8 label 0 ... C.

    Returns:
        (members, C, rows) uint8 values and (rows,) uint16 counts, in the order of the true label, and (C + 1,) int64
        rows of each label.
    """
    members, classes = maps.shape[:2]
    columns = np.empty((1 + members * classes, truth.size), np.uint8)
    columns[0] = truth.ravel()
    columns[1:] = maps.reshape(members * classes, -1)
    columns, blank = _without_blank(columns)
    rows, counts = _distinct(columns)
    if blank:
        rows = np.concatenate([np.zeros((len(rows), 1), np.uint8), rows], 1)
        counts = np.concatenate([[blank], counts])
    rows, counts = _split(rows, counts)
    sizes = np.bincount(rows[0], minlength=classes + 1)
    return rows[1:].reshape(members, classes, -1), counts, sizes


def _without_blank(columns: np.ndarray) -> tuple[np.ndarray, int]:
    """Leave out voxels that are nothing to anyone, eight at a time, and count them.

    Args:
        columns: (c, n) uint8.

    Returns:
        (c, fewer) uint8, and how many columns of zeros are gone.
    """
    whole = columns.shape[1] // _BYTES * _BYTES
    words = columns[:, :whole].view(np.uint64)
    seen = np.flatnonzero(np.bitwise_or.reduce(words, axis=0))
    if 2 * len(seen) > words.shape[1]:
        return columns, 0
    kept = np.ascontiguousarray(words[:, seen]).view(np.uint8)
    return np.concatenate([kept, columns[:, whole:]], 1), whole - kept.shape[1]


def _distinct(columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct columns of a (c, n) uint8 array in the order of the first row, (c, rows), and how often each occurs.

    Up to eight bytes are looked up as one number; maps are smooth, and neighbors that are equal are looked up once.
    Longer columns are sorted by a hash and told apart by what they are, so two columns of one hash can at worst leave a
    column listed twice, with its counts shared among the two.
    """
    if len(columns) <= _BYTES or not columns.shape[1]:
        keys = _pack(columns)
        ends = np.flatnonzero(np.append(keys[1:] != keys[:-1], True)[: len(keys)])
        place, keys = pd.factorize(keys[ends].astype(np.int64))
        counts = np.bincount(place, np.diff(ends, prepend=-1)).astype(np.int64)
        shifts = 8 * np.arange(len(columns) - 1, -1, -1)
        rows = (keys >> shifts[:, None]).astype(np.uint8)
        order = np.argsort(rows[0], kind="stable")
        return rows[:, order], counts[order]
    parts = [_distinct_long(columns[:, columns[0] == label]) for label in np.unique(columns[0])]
    return np.concatenate([rows for rows, _ in parts], 1), np.concatenate([counts for _, counts in parts])


def _distinct_long(columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct columns of any length, all of one label, and how often each occurs."""
    label, others = columns[:1], columns[1:]
    if len(others) <= _BYTES:
        rows, counts = _distinct(others)
        return np.concatenate([np.repeat(label[:, :1], rows.shape[1], 1), rows]), counts
    keys = np.zeros(columns.shape[1], np.uint64)
    for first in range(0, len(others), _BYTES):
        keys ^= keys >> np.uint64(32)
        keys *= _MIX
        keys += _pack(others[first : first + _BYTES])
    ordered = columns[:, np.argsort(keys)]
    last = np.flatnonzero(np.append((ordered[:, 1:] != ordered[:, :-1]).any(0), True))
    return ordered[:, last], np.diff(last, prepend=-1)


def _pack(columns: np.ndarray) -> np.ndarray:
    """(n,) numbers whose bytes are the up to eight rows of a (c, n) uint8 array."""
    width = np.uint32 if len(columns) <= 4 else np.uint64
    keys = columns[0].astype(width)
    for column in columns[1:]:
        keys <<= width(8)
        keys |= column
    return keys


def _split(rows: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Spread counts beyond a uint16 over several equal rows."""
    parts = (counts + _MOST - 1) // _MOST
    if (parts > 1).any():
        rest = counts - (parts - 1) * _MOST
        ends = np.cumsum(parts) - 1
        rows, counts = np.repeat(rows, parts, axis=1), np.full(parts.sum(), _MOST)
        counts[ends] = rest
    return rows, counts.astype(np.uint16)
