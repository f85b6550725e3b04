"""Copies of images under flips, turns, rotation, crops, rescaling, other brightness and compression.

Two images are copies where many of their local features (SIFT: Lowe 2004, https://doi.org/10.1023/B:VISI.0000029664.99615.94)
agree on one similarity transform (RANSAC), in the image or in its mirror image. Which pairs are compared is chosen
by a descriptor of the whole image that no such transform changes (VLAD: Jégou et al. 2010,
https://doi.org/10.1109/CVPR.2010.5540039).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SIDE = 256  # pixels of the longer side on which features are sought
FEATURES = 200
MIN_FEATURES = 30  # an image with fewer, such as an empty slice, cannot be recognized by them
RATIO = 0.85  # of the distances to the nearest and the second nearest feature
TOLERANCE = 4.0  # pixels
# Chosen by looking at the closest pairs of brain slices, X-rays and slices of volumes. Copies keep 29 features, at a
# median distance of 62 at most. Other patients share up to 29, at a median distance of 66 or more.
MIN_AGREEING = 24
MEDIAN_DISTANCE = 64.0  # of the descriptors that agree
MIN_AREA = 0.06  # of the image that the agreeing features span: markers and scales recur from patient to patient
WORDS, DIMENSIONS = 64, 512  # of the descriptor of a whole image
NEIGHBORS = 12  # images with which each one is compared
ALL_PAIRS = 40  # images up to which all pairs are compared


@dataclass(frozen=True)
class LocalFeatures:
    """Places (N, 2) float32, x and y, and root-SIFT descriptors (N, 128) uint8 of an image's local features."""

    places: np.ndarray
    descriptors: np.ndarray


def local_features(gray: np.ndarray) -> LocalFeatures:
    """Find the strongest local features of an image.

    Args:
        gray: (H, W), any type.
    """
    import cv2

    height, width = gray.shape
    scale = SIDE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(gray.astype(np.float32), size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    low, high = np.percentile(small, [0.5, 99.5])
    levels = np.clip((small - low) * (255 / max(high - low, 1e-6)), 0, 255).astype(np.uint8)
    levels = cv2.createCLAHE(2.0, (8, 8)).apply(levels)
    found, values = cv2.SIFT.create(FEATURES, contrastThreshold=0.01, edgeThreshold=20).detectAndCompute(levels, None)
    if values is None:
        return LocalFeatures(np.empty((0, 2), np.float32), np.empty((0, 128), np.uint8))
    places = np.array([one.pt for one in found[:FEATURES]], np.float32)
    shares = values[:FEATURES] / np.maximum(values[:FEATURES].sum(1, keepdims=True), 1e-6)
    return LocalFeatures(places, np.rint(255 * np.sqrt(shares)).astype(np.uint8))


def mirrored(features: LocalFeatures) -> LocalFeatures:
    """Features of the image's mirror image: a descriptor's 4 x 4 cells and 8 directions change places."""
    cells = features.descriptors.reshape(-1, 4, 4, 8)[:, ::-1, :, [-direction % 8 for direction in range(8)]]
    return LocalFeatures(features.places * np.array([1, -1], np.float32), cells.reshape(-1, 128))


def are_copies(first: LocalFeatures, second: LocalFeatures) -> bool:
    """Whether two images, or one and the other's mirror image, show the same."""
    return any(agreeing(one, second) for one in (first, mirrored(first)))


def agreeing(first: LocalFeatures, second: LocalFeatures) -> int:
    """Number of features that agree on one similarity transform; 0 where they are too few or lie too close together."""
    import cv2

    if min(len(first.places), len(second.places)) < MIN_FEATURES:
        return 0
    left, right = first.descriptors.astype(np.float32), second.descriptors.astype(np.float32)
    distance = (left**2).sum(1)[:, None] + (right**2).sum(1) - 2 * left @ right.T
    rows = np.arange(len(left))
    nearest = distance.argmin(1)
    mutual = distance.argmin(0)[nearest] == rows
    best = distance[rows, nearest].copy()
    distance[rows, nearest] = np.inf
    clear = mutual & (best < RATIO**2 * distance.min(1))
    if clear.sum() < MIN_AGREEING:
        return 0
    here, there = first.places[clear], second.places[nearest[clear]]
    transform, inside = cv2.estimateAffinePartial2D(here, there, ransacReprojThreshold=TOLERANCE, maxIters=500)
    if transform is None or inside.sum() < MIN_AGREEING:
        return 0
    kept = inside.ravel() > 0
    if np.median(best[clear][kept]) > MEDIAN_DISTANCE**2:
        return 0
    for one, everything in ((here[kept], first.places), (there[kept], second.places)):
        width, height = np.ptp(everything, axis=0)
        if cv2.contourArea(cv2.convexHull(one)) < MIN_AREA * width * height:
            return 0
    return int(kept.sum())


def copied_pairs(features: Sequence[LocalFeatures], patients: Sequence[str], also: np.ndarray) -> np.ndarray:
    """Pairs of rows (P, 2), first before second, that are copies of one another and of different patients.

    Args:
        features: Of every image.
        patients: Patient of every image: images of one patient are not compared.
        also: Further pairs of rows (Q, 2) to compare.
    """
    candidates = sorted({*candidate_pairs(features, patients), *((int(a), int(b)) for a, b in also)})
    pairs = [pair for pair in candidates if are_copies(features[pair[0]], features[pair[1]])]
    return np.array(pairs, int).reshape(-1, 2)


def candidate_pairs(features: Sequence[LocalFeatures], patients: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs that may be copies: each image with those of other patients that resemble it most, mirrored or not."""
    rich = [row for row, one in enumerate(features) if len(one.places) >= MIN_FEATURES]
    names = np.array([patients[row] for row in rich])
    if len(rich) <= ALL_PAIRS:
        return [(a, b) for place, a in enumerate(rich) for b in rich[place + 1 :] if patients[a] != patients[b]]
    centers = _centers([features[row] for row in rich])
    projection = np.random.default_rng(1).normal(size=(WORDS * 128, DIMENSIONS)).astype(np.float32)
    plain = np.stack([_vlad(features[row], centers) @ projection for row in rich])
    mirror = np.stack([_vlad(mirrored(features[row]), centers) @ projection for row in rich])
    middle = (plain.mean(0) + mirror.mean(0)) / 2
    plain, mirror = _unit_rows(plain - middle), _unit_rows(mirror - middle)
    found = set()
    for place, row in enumerate(rich):
        alike = np.maximum(plain @ plain[place], mirror @ plain[place])
        alike[names == names[place]] = -np.inf
        for other in np.argpartition(-alike, min(NEIGHBORS, len(rich) - 1))[:NEIGHBORS]:
            if np.isfinite(alike[other]):
                found.add((min(row, rich[other]), max(row, rich[other])))
    return sorted(found)


def _centers(features: Sequence[LocalFeatures]) -> np.ndarray:
    """Typical descriptors (WORDS, 128) of a set of images, by a few rounds of k-means on a sample."""
    everything = np.concatenate([one.descriptors[:: max(1, len(one.descriptors) // 40)] for one in features])
    generator = np.random.default_rng(0)
    sample = everything[generator.permutation(len(everything))[:12_000]].astype(np.float32)
    centers = sample[:WORDS].copy()
    for _ in range(5):
        of = _nearest(sample, centers)
        sums = np.zeros_like(centers)
        np.add.at(sums, of, sample)
        counts = np.bincount(of, minlength=WORDS)[:, None]
        centers = np.where(counts > 0, sums / np.maximum(counts, 1), centers)
    return centers


def _nearest(values: np.ndarray, centers: np.ndarray) -> np.ndarray:
    return (2 * values @ centers.T - (centers**2).sum(1)).argmax(1)


def _vlad(features: LocalFeatures, centers: np.ndarray) -> np.ndarray:
    values = features.descriptors.astype(np.float32)
    of = _nearest(values, centers)
    sums = np.zeros_like(centers)
    np.add.at(sums, of, values - centers[of])
    return _unit_rows(_unit_rows(sums).reshape(1, -1))[0]


def _unit_rows(values: np.ndarray) -> np.ndarray:
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-6)
