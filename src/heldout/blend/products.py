"""What a decision delivers of a case: the values that a submission holds."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from heldout.data.rle import RunLengths

if TYPE_CHECKING:
    from heldout.blend.apply import Blended
    from heldout.data.sources import Source
    from heldout.tasks import Task


def run_lengths(config: Task, source: Source) -> RunLengths:
    """How the experiment's submission counts pixels: as it says, else as the training masks were counted."""
    start = source.rle.start if config.rle_start is None else config.rle_start
    return replace(source.rle, order=config.rle or source.rle.order, start=start)


def case_values(
    result: Blended, form: str, classes: tuple[str, ...], runs: RunLengths, empty: str = ""
) -> dict[str, float] | dict[str, str]:
    """Value of every class: a run-length text, or a probability rounded to six digits.

    Args:
        result: What the decision predicts.
        form: ``rle``, or another form of a submission.
        classes: Names of the classes.
        runs: How run lengths count pixels.
        empty: Text of an empty mask.
    """
    if form == "rle":
        return mask_texts(mask_of_result(result), classes, runs, empty)
    return {label: round(float(value), 6) for label, value in zip(classes, result.scores, strict=True)}


def mask_of_result(result: Blended) -> np.ndarray:
    """The mask (M, *spatial) that every result of a segmentation has."""
    assert result.mask is not None, "only a segmentation is submitted as masks"
    return result.mask


def mask_texts(mask: np.ndarray, classes: tuple[str, ...], runs: RunLengths, empty: str = "") -> dict[str, str]:
    """Run-length text of every class, from a label map (1, H, W) or from one channel per class (K, H, W).

    Every text is decoded again and must give the mask.
    """
    channels = [mask[0] == index + 1 for index in range(len(classes))] if len(mask) == 1 else mask
    texts = {label: runs.encode(channel) for label, channel in zip(classes, channels, strict=True)}
    for (label, text), channel in zip(texts.items(), channels, strict=True):
        if not np.array_equal(runs.decode(text, channel.shape), channel != 0):
            raise ValueError(f"the run-length text of {label} does not decode to its mask")
    return {label: text or empty for label, text in texts.items()}
