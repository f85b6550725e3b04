"""Duplicates: which cases show the same thing, and the groups that must therefore stay together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from heldout.data.columns import PREFIX
from heldout.data.copies import MIN_FEATURES, copied_pairs
from heldout.data.signature import ImageSignature, content_hash, signature

if TYPE_CHECKING:
    from heldout.data.sources import Source

# Chosen by looking at the pairs found in public sets of brain slices and X-rays: real copies (also recompressed,
# annotated or slightly cut) pass, other patients in the same pose rarely do, and nothing chains into large groups.
HASH_DISTANCE = 14  # bits of 64 that two perceptual hashes may differ in
COARSE_CORRELATION = {2: 0.85, 3: 0.95}
DETAIL_CORRELATION = {2: 0.55, 3: 0.8}
SHARED_FROM = 20  # cases at which half of what all cases have in common is taken off
BLOCK = 512  # rows compared with all others at once
RULE = 2  # of near-duplicates: the first compared miniatures alone; groups that it made stay as they are


@dataclass(frozen=True)
class Duplicates:
    """Sets of cases that show the same thing.

    Attributes:
        exact: Cases with equal pixels.
        near: Cases of different patients that look alike; holds no two cases of equal pixels alone.
        conflicts: Sets of exact or near duplicates whose labels differ.
    """

    exact: list[list[str]]
    near: list[list[str]]
    conflicts: list[list[str]]


def look_at(source: Source, rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, ImageSignature]]:
    """Content hash and signature of the images of some rows of an index, for :func:`find_duplicates`."""
    images = [source.read_image(row, salvage=row["split"] == "submit") for row in rows]
    return [(content_hash(image.array), signature(image)) for image in images]


def find_duplicates(
    cases: pd.DataFrame,
    signatures: Sequence[ImageSignature],
    dimensions: int,
    near: bool = True,
    rule: int = RULE,
) -> Duplicates:
    """Find exact and near duplicates.

    Args:
        cases: One row per case with case_id, patient_id, content_hash and label columns ``y_*``.
        signatures: One per row.
        dimensions: 2 for images, 3 for volumes.
        near: Look for near duplicates too.
        rule: 1 compares miniatures. 2 compares local features, also of images that were flipped, turned, rotated,
            cut or rescaled; miniatures decide about images with too few of them, and about volumes.
    """
    ids = cases["case_id"].to_numpy()
    exact = [sorted(ids[rows]) for rows in _equal_rows(cases["content_hash"].to_numpy())]
    pairs = np.empty((0, 2), int)
    if near:
        pairs = near_pairs(signatures, dimensions)
        patients, contents = cases["patient_id"].to_numpy(), cases["content_hash"].to_numpy()
        local = [one.local for one in signatures if one.local is not None]
        if rule > 1 and len(local) == len(signatures):
            poor = np.array([len(one.places) < MIN_FEATURES for one in local])[pairs].any(axis=1)
            pairs = np.concatenate([pairs[poor], copied_pairs(local, patients, pairs[~poor])])
        different = (patients[pairs[:, 0]] != patients[pairs[:, 1]]) & (contents[pairs[:, 0]] != contents[pairs[:, 1]])
        pairs = pairs[different]
    near_sets = _sets([(ids[a], ids[b]) for a, b in pairs])
    labels = cases.set_index("case_id").filter(regex="^y_")
    conflicts = [names for names in exact + near_sets if len(labels.loc[names].dropna().drop_duplicates()) > 1]
    return Duplicates(sorted(exact), near_sets, sorted(conflicts))


def near_pairs(signatures: Sequence[ImageSignature], dimensions: int) -> np.ndarray:
    """Pairs of rows (P, 2), first before second, whose hashes are close and whose miniatures correlate.

    What all cases have in common, such as the outline of a head or a registered anatomy, is taken off first: two
    cases are copies when they share what the others lack.
    """
    bits = np.array([one.bits for one in signatures], np.uint64)
    coarse = _own_part(np.stack([one.coarse for one in signatures]).astype(np.float32))
    detail = _own_part(np.stack([one.detail for one in signatures]).astype(np.float32))
    found = [np.empty((0, 2), int)]
    for first in range(0, len(bits), BLOCK):
        rows, later = slice(first, first + BLOCK), slice(first, None)
        close = np.bitwise_count(bits[rows, None] ^ bits[None, later]) <= HASH_DISTANCE
        close = np.triu(close & (coarse[rows] @ coarse[later].T >= COARSE_CORRELATION[dimensions]), k=1)
        left, right = np.flatnonzero(close.any(1)), np.flatnonzero(close.any(0))
        alike = detail[left + first] @ detail[right + first].T >= DETAIL_CORRELATION[dimensions]
        pairs = np.argwhere(close[np.ix_(left, right)] & alike)
        found.append(np.stack([left[pairs[:, 0]], right[pairs[:, 1]]], axis=1) + first)
    return np.concatenate(found)


def _own_part(vectors: np.ndarray) -> np.ndarray:
    """Rows less their mean, brought back to length 1; with few rows, where the mean is a copy itself, less of it."""
    rest = vectors - vectors.mean(0) * np.float32(len(vectors) / (len(vectors) + SHARED_FROM))
    return rest / np.maximum(np.linalg.norm(rest, axis=1, keepdims=True), np.float32(1e-6))


def group_ids(cases: pd.DataFrame, duplicates: Duplicates, group: Sequence[str] = ()) -> pd.Series:
    """Group of every case: patients that share a duplicate are one group, named after its first patient.

    Args:
        cases: Columns case_id, patient_id and those to group by, ``c_<name>``.
        duplicates: What was found among them.
        group: Further columns: patients that share a value of one are one group too. An empty value joins nobody.

    Returns:
        Series of group ids with the index of ``cases``.
    """
    patient = dict(zip(cases["case_id"], cases["patient_id"], strict=True))
    links = [(patient[a], patient[b]) for names in duplicates.exact + duplicates.near for a, b in pairwise(names)]
    for column in group:
        known = cases[cases[PREFIX + column] != ""]
        for _, patients in known.groupby(PREFIX + column)["patient_id"]:
            links += pairwise(sorted(set(patients)))
    name = {member: names[0] for names in _sets(links) for member in names}
    return cases["patient_id"].map(lambda patient_id: name.get(patient_id, patient_id))


def _equal_rows(values: np.ndarray) -> list[np.ndarray]:
    """Positions of every value that occurs more than once."""
    rows = pd.Series(range(len(values))).groupby(pd.Series(values)).agg(list)
    return [np.array(positions) for positions in rows if len(positions) > 1]


def _sets(links: list[tuple[str, str]]) -> list[list[str]]:
    """Connected components of a graph, each sorted; loops ``(a, a)`` give a set of one."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not links:
        return []
    names, ends = np.unique(np.array(links), return_inverse=True)
    left, right = ends.reshape(-1, 2).T
    graph = coo_array((np.ones(len(left), bool), (left, right)), shape=(len(names), len(names)))
    _, labels = connected_components(graph, directed=False)
    return sorted(sorted(names[labels == number].tolist()) for number in range(labels.max() + 1))
