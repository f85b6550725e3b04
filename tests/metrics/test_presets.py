"""Metrics of competitions: equal to plain code written from their definitions."""

from __future__ import annotations

from math import log

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heldout.errors import UserError
from heldout.metrics.presets import rsna_lumbar
from heldout.metrics.tables import columns_of

PLACES = [
    *(f"spinal_canal_stenosis_{level}" for level in ("l1_l2", "l2_l3", "l3_l4")),
    *(f"left_neural_foraminal_narrowing_{level}" for level in ("l1_l2", "l2_l3")),
    *(f"right_subarticular_stenosis_{level}" for level in ("l1_l2", "l2_l3")),
]
GRADES = ("Normal/Mild", "Moderate", "Severe")


def studies(seed: int, count: int, places: list[str] = PLACES) -> tuple[pd.DataFrame, list[str]]:
    """A row per study; a tenth of the levels has no grade, and probabilities sum to about one."""
    random = np.random.default_rng(seed)
    frame = pd.DataFrame({"case_id": [f"study{i}" for i in range(count)]})
    frame["patient_id"] = frame["case_id"]
    for place in places:
        grade = random.integers(0, 3, count)
        unknown = random.random(count) < 0.1
        given = random.dirichlet((1, 1, 1), count) * random.uniform(0.5, 1, (count, 1))
        for number, name in enumerate(GRADES):
            frame[f"y_{place}_{name}"] = np.where(unknown, np.nan, grade == number)
            frame[f"p_{place}_{name}"] = given[:, number]
    return frame, [f"{place}_{name}" for place in places for name in GRADES]


def by_definition(frame: pd.DataFrame, any_severe: float) -> float:
    """The score row by row: a row per study and level, as the competition's solution file has."""
    rows = []
    for study in frame.to_dict("records"):
        for place in PLACES:
            truth = [study[f"y_{place}_{name}"] for name in GRADES]
            if not np.isnan(truth[0]):
                rows.append((study["case_id"], place, truth.index(1), [study[f"p_{place}_{name}"] for name in GRADES]))
    terms, shares = [], []
    for condition in ("spinal", "foraminal", "subarticular"):
        some = [row for row in rows if condition in row[1]]
        weights = [(1, 2, 4)[grade] for _, _, grade, _ in some]
        losses = [-log(max(given[grade] / sum(given), 1e-15)) for _, _, grade, given in some]
        terms.append(sum(w * loss for w, loss in zip(weights, losses, strict=True)) / sum(weights))
        shares.append(1.0)
    total = weight_of_all = 0.0
    for study in sorted({row[0] for row in rows if "spinal" in row[1]}):
        levels = [row for row in rows if row[0] == study and "spinal" in row[1]]
        severe = max(given[2] for _, _, _, given in levels)
        weight = max((1, 2, 4)[grade] for _, _, grade, _ in levels)
        true = any(grade == 2 for _, _, grade, _ in levels)
        total += weight * -log(max(severe if true else 1 - severe, 1e-15))
        weight_of_all += weight
    terms.append(total / weight_of_all)
    shares.append(any_severe)
    return sum(t * s for t, s in zip(terms, shares, strict=True)) / sum(shares)


@given(st.integers(0, 10_000), st.integers(6, 40), st.sampled_from((0.0, 0.5, 1.0, 3.0)))
@settings(max_examples=40, deadline=None)
def test_the_lumbar_score_is_that_of_its_definition(seed, count, any_severe):
    frame, classes = studies(seed, count)
    metric = rsna_lumbar(any_severe)
    assert metric.value(columns_of(frame, classes)) == pytest.approx(by_definition(frame, any_severe), abs=1e-12)


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_its_weights_repeat_studies_and_the_order_of_studies_and_classes_is_none(seed):
    frame, classes = studies(seed, 20)
    columns, random = columns_of(frame, classes), np.random.default_rng(seed)
    counts = random.integers(0, 3, 20)
    counts[0] = 1
    repeated = columns.take(np.repeat(np.arange(20), counts))
    weighted = rsna_lumbar().evaluate(columns, counts[None].astype(float))[0]
    assert weighted == pytest.approx(rsna_lumbar().value(repeated))
    moved = columns_of(frame.sample(frac=1, random_state=seed), [classes[i] for i in random.permutation(len(classes))])
    assert rsna_lumbar().value(moved) == pytest.approx(rsna_lumbar().value(columns))


def test_a_condition_alone_is_scored_alone():
    places = [place for place in PLACES if "foraminal" in place]
    frame, classes = studies(3, 30, places)
    assert rsna_lumbar().value(columns_of(frame, classes)) == rsna_lumbar(9.0).value(columns_of(frame, classes)) > 0


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (["edema", "mass"], r"class 'edema' is no grade of a condition at a level: name classes such as spinal_"),
        ([f"{PLACES[0]}_{name}" for name in GRADES[1:]], r"there is no class spinal_canal_stenosis_l1_l2_normal_mild"),
    ],
)
def test_classes_that_are_no_grades_are_refused(classes, message):
    frame = pd.DataFrame({"case_id": ["a", "b"], **{f"{kind}_{name}": [0, 1] for kind in "yp" for name in classes}})
    with pytest.raises(UserError, match=message):
        rsna_lumbar().value(columns_of(frame, classes))
