"""Masks of the largest expected Dice: a threshold of its own for every image. A ready-made ``postprocess``."""

from __future__ import annotations

import numpy as np

_LEVELS = 256


def expected_dice_mask(probability: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Cut every image at the threshold with the largest expected Dice.

    One threshold for all images is too high for a faint lesion and too low for a confident one. If voxels are
    independent, the mask with the largest expected Dice holds the most probable voxels of the image (Dai and Li 2023,
    "RankSEG: a consistent ranking-based framework for segmentation"). Here the expected Dice is the ratio of the
    expectations: twice the sum of the probabilities in the mask, over the voxels of the mask plus the sum of all
    probabilities. The threshold with the largest ratio is half of that ratio, as the optimal threshold of F1 is half
    of the optimal F1 (Lipton et al. 2014, "Optimal thresholding of classifiers to maximize F1 measure").

    Args:
        probability: Map (K, *spatial) uint8.
        mask: Mask (K, *spatial) uint8 so far; a class that it leaves empty stays empty, all else is cut anew.

    Returns:
        (K, *spatial) uint8, 1 where a voxel belongs to the class.

    Raises:
        ValueError: the mask does not have one channel per class: several exclusive classes have no threshold.

    Example:
        >>> faint = np.array([[0, 0, 20, 80, 90]], np.uint8)
        >>> expected_dice_mask(faint, faint >= 85).tolist()
        [[0, 0, 0, 1, 1]]
    """
    if mask.shape != probability.shape:
        raise ValueError(f"mask {mask.shape} of a map {probability.shape}: several exclusive classes have no threshold")
    levels = np.arange(_LEVELS)
    found = np.zeros(probability.shape, np.uint8)
    for channel, values, before in zip(found, probability, mask, strict=True):
        if not before.any():
            continue
        voxels = np.bincount(values.ravel(), minlength=_LEVELS)
        inside = np.cumsum(voxels[::-1])[::-1]  # voxels at or above each level
        sums = np.cumsum((voxels * levels)[::-1])[::-1]
        expected = 2 * sums[1:] / np.maximum(255 * inside[1:] + sums[0], 1)
        channel[...] = values > int(expected.argmax())
    return found
