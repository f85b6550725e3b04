"""The protocols of other systems that the repository describes: their split, their cases, their metric."""

from __future__ import annotations

import random
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from exps import protocols
from exps.protocols import fracture_parts
from heldout.errors import UserError

WHOLE = {True: 40, False: 61}
IMAGES = [(f"IMG{number:04d}.jpg", number % 5 in (1, 3) and number < 100) for number in range(101)]


def their_parts(names: list[str]) -> dict[str, str]:
    """Their rule, written down as they do it."""
    names = list(names)
    random.Random(42).shuffle(names)
    first, second = int(0.7 * len(names)), int(0.85 * len(names))
    return {name: "train" if i < first else "val" if i < second else "test" for i, name in enumerate(names)}


def test_the_split_of_the_fracture_benchmark_is_found_with_and_without_its_test_part():
    assert sum(fractured for _, fractured in IMAGES) == WHOLE[True]
    expected = {}
    for wanted in (True, False):
        expected |= their_parts([name for name, fractured in IMAGES if fractured == wanted])
    assert fracture_parts(IMAGES, WHOLE) == expected
    left = [(name, fractured) for name, fractured in IMAGES if expected[name] != "test"]
    assert len(left) < len(IMAGES)
    assert fracture_parts(left, WHOLE) == {name: expected[name] for name, _ in left}
    with pytest.raises(UserError, match=r"needs 40 or 34 images with fracture, and there are 33: restore FracAtlas"):
        fracture_parts([one for one in left if one != next(one for one in left if one[1])], WHOLE)


def test_dice_is_that_of_resized_maps_and_masks_at_every_threshold():
    truth = np.zeros((1, 100, 60), np.uint8)
    truth[:, :50] = 1
    held = SimpleNamespace(
        prediction=lambda _: SimpleNamespace(map=(truth * 128).astype(np.uint8)),
        dataset=SimpleNamespace(truth=lambda _: truth),
    )
    dice = protocols._dice(held, ["one", "two"])
    assert dice.shape == (2, len(protocols.THRESHOLDS))
    at = {round(float(value), 2): index for index, value in enumerate(protocols.THRESHOLDS)}
    assert dice[0, at[0.3]] > 0.99
    assert dice[0, at[0.6]] == 0


def test_dice_of_each_label_counts_voxels_case_by_case():
    counts = {"tp_a": [8, 0], "fp_a": [0, 0], "fn_a": [2, 0], "tp_b": [1, 5], "fp_b": [1, 0], "fn_b": [0, 0]}
    held = SimpleNamespace(classes=("a", "b"), ranking_table=pd.DataFrame(counts))
    values = protocols._decathlon(held).values
    assert values == pytest.approx({"dice_1": (16 / 18 + 1) / 2, "dice_2": (2 / 3 + 1) / 2})
