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


def held_out(folder, images: list[tuple[str, bool]], *, is_blend: bool = False) -> SimpleNamespace:
    """Predictions of a copy of the fracture data: sure and right but for the images of two folds of five."""
    for name in ("Fractured", "Non_fractured"):
        (folder / "images" / name).mkdir(parents=True)
    for name, fractured in images:
        (folder / "images" / ("Fractured" if fractured else "Non_fractured") / name).touch()
    (folder / "dataset.csv").write_text("image\n" + "".join(f"{name},1\n" for name, _ in images))
    ids = [name.removesuffix(".jpg") for name, _ in images]
    truth = [int(fractured) for _, fractured in images]
    table = pd.DataFrame({"case_id": ids, "patient_id": ids, "fold": np.arange(len(ids)) // 5 % 5})
    table = table.assign(y_fractured=truth, p_fractured=truth)
    weak = set(table["case_id"][table["fold"] < 2])
    mask = np.zeros((1, 32, 32), np.uint8)
    mask[:, :16] = 1
    said = SimpleNamespace
    return SimpleNamespace(
        is_blend=is_blend,
        classes=("fractured",),
        segments=True,
        ranking_table=table,
        prediction=lambda case: said(map=mask * (80 if case in weak else 230), mask=mask * (case not in weak)),
        dataset=SimpleNamespace(
            cases=pd.DataFrame({"case_id": ids, "mask": "m"}), truth=lambda _: mask, source=SimpleNamespace(root=folder)
        ),
    )


@pytest.mark.parametrize("whole", [True, False])
def test_their_test_part_is_scored_where_its_files_are_and_all_folds_beside_it(tmp_path, monkeypatch, whole):
    for fractured, count in WHOLE.items():
        monkeypatch.setitem(protocols.FRACATLAS, fractured, count)
    parts = fracture_parts(IMAGES, WHOLE)
    images = [one for one in IMAGES if whole or parts[one[0]] != "test"]
    theirs, every = protocols._fracture(held_out(tmp_path, images))
    part, tuned = ("test", "validation") if whole else ("validation", "training")
    count = sum(value == part[: 4 if whole else 3] for value in parts.values())
    assert theirs.cases == f"{count} of {count} of their {part} part"
    assert f" of their {tuned} part; trained on our folds" in theirs.differs
    assert (theirs.values["roc_auc"], theirs.values["dice_pos"]) == (1, pytest.approx(1, abs=0.01))
    assert every.cases == f"{sum(fractured for _, fractured in images)} cases with a fracture"
    assert every.values == {"dice_pos": pytest.approx(1, abs=0.01)}


def test_of_a_blend_all_folds_are_scored_by_its_own_masks(tmp_path, monkeypatch):
    for fractured, count in WHOLE.items():
        monkeypatch.setitem(protocols.FRACATLAS, fractured, count)
    held = held_out(tmp_path, IMAGES, is_blend=True)
    _, every = protocols._fracture(held)
    positive = held.ranking_table[held.ranking_table["y_fractured"] == 1]
    assert every.values == {"dice_pos": pytest.approx((positive["fold"] >= 2).mean())}
    assert every.differs == "out of fold, masks as tuned on the other folds"


def test_dice_of_each_label_counts_voxels_case_by_case():
    counts = {"tp_a": [8, 0], "fp_a": [0, 0], "fn_a": [2, 0], "tp_b": [1, 5], "fp_b": [1, 0], "fn_b": [0, 0]}
    held = SimpleNamespace(classes=("a", "b"), ranking_table=pd.DataFrame(counts))
    values = protocols._decathlon(held)[0].values
    means = (16 / 18 + 1) / 2, (2 / 3 + 1) / 2
    assert values == pytest.approx({"dice_1": means[0], "dice_2": means[1], "dice_pos": sum(means) / 2})


def test_a_dataset_without_their_table_is_refused(tmp_path):
    held = held_out(tmp_path, IMAGES)
    (tmp_path / "dataset.csv").unlink()
    with pytest.raises(UserError, match=r"dataset\.csv, which is not here: restore FracAtlas"):
        protocols._fracture(held)
