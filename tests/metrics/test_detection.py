"""Scores of detections: COCO's average precision, FROC and F-beta against brute force, and weights."""

from __future__ import annotations

import contextlib
import io
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heldout.errors import UserError
from heldout.metrics import get_metric, score
from heldout.metrics.detection import FALSE_RATES
from heldout.metrics.tables import columns_of

CLASSES = ("a", "b", "c")


def make(seed, cases=15, points=False):
    """Objects and detections at and beside them; scores tie often, and some cases and classes have none."""
    random, found = np.random.default_rng(seed), []
    for _ in range(cases):
        objects, detections = [], []
        for number in range(random.integers(1, 4)):
            for _ in range(random.integers(0, 4)):
                low, size = random.uniform(0, 60, 2), random.uniform(2, 25, 2) * (not points)
                objects.append([number, *low, *(low + size)])
                for _ in range(random.integers(0, 3)):
                    corner = low + random.normal(0, 3, 2)
                    wide = np.maximum(size + random.normal(0, 3, 2), 1) * (not points)
                    level = random.integers(0, 256) / 255
                    detections.append([number, round(level, 4), float(level >= 0.5), *corner, *(corner + wide)])
        found.append((objects, detections))
    return found


def table_of(found):
    rows = []
    for number, (objects, detections) in enumerate(found):
        zeros = {f"{kind}_{name}": 0.0 for kind in ("y", "p", "tp", "fp", "fn") for name in CLASSES}
        texts = {"objects": json.dumps(objects), "detections": json.dumps(detections)}
        rows.append({"case_id": f"{number:03d}", "patient_id": f"p{number}", **zeros, **texts})
    return pd.DataFrame(rows)


def by_pycocotools(found):
    """mAP at 0.50 ... 0.95 and at 0.5."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def box(row):
        top, left, bottom, right = row[-4:]
        return [left, top, right - left, bottom - top]

    objects = [(i, row) for i, (rows, _) in enumerate(found) for row in rows]
    detections = [(i, row) for i, (_, rows) in enumerate(found) for row in rows]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "images": [{"id": i} for i in range(len(found))],
            "categories": [{"id": k} for k in range(len(CLASSES))],
            "annotations": [
                {"id": n, "image_id": i, "category_id": row[0], "bbox": box(row), "area": 1.0, "iscrowd": 0}
                for n, (i, row) in enumerate(objects, start=1)
            ],
        }
        truth.createIndex()
        results = [{"image_id": i, "category_id": row[0], "bbox": box(row), "score": row[1]} for i, row in detections]
        evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats[0], evaluation.stats[1]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_average_precision_is_that_of_pycocotools(seed):
    found = make(seed)
    if not any(rows for _, rows in found):
        return
    table = table_of(found)
    every, half = by_pycocotools(found)
    assert score("map:0.5", table, CLASSES) == pytest.approx(half, abs=1e-6)
    assert score("map:0.5:0.95", table, CLASSES) == pytest.approx(every, abs=1e-6)


def hits_of(found, number, distance, least=-1.0):
    """(score, hit, repeated) of every detection of a class, one object after the other, and the number of objects."""
    rows, total = [], 0
    for objects, detections in found:
        left = [np.array(row[1:]) for row in objects if row[0] == number]
        every, total = list(left), total + len(left)
        for row in sorted((row for row in detections if row[0] == number and row[2] > least), key=lambda row: -row[1]):
            center = np.array([row[3] + row[5], row[4] + row[6]]) / 2

            def away(box, center=center):
                return np.linalg.norm(np.maximum(np.maximum(box[:2] - center, center - box[2:]), 0))

            near = [box for box in left if away(box) <= distance]
            if near:
                nearest = min(away(box) for box in near)
                del left[max(i for i, box in enumerate(left) if away(box) == nearest)]
            rows.append((row[1], bool(near), not near and any(away(box) <= distance for box in every)))
    return rows, total


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("points", [True, False])
def test_froc_and_fbeta_are_those_of_brute_force(seed, points):
    found = make(seed, points=points)
    sensitivities, f_scores = [], []
    for number in range(len(CLASSES)):
        rows, total = hits_of(found, number, 3.0)
        if not total:
            continue
        curve = [(0.0, 0.0)]
        for cut in sorted({row[0] for row in rows}):
            above = [row for row in rows if row[0] >= cut]
            false = sum(not hit and not again for _, hit, again in above) / len(found)
            curve.append((false, sum(hit for _, hit, _ in above) / total))
        sensitivities.append(np.mean([max(s for f, s in curve if f <= rate) for rate in FALSE_RATES]))
        kept, _ = hits_of(found, number, 3.0, least=0.0)
        hits = sum(hit for _, hit, _ in kept)
        f_scores.append(5 * hits / (5 * hits + 4 * (total - hits) + len(kept) - hits))
    table = table_of(found)
    assert score("froc:3", table, CLASSES) == pytest.approx(np.mean(sensitivities))
    assert score("fbeta:2:3", table, CLASSES) == pytest.approx(np.mean(f_scores))


@pytest.mark.parametrize("name", ["map:0.5", "froc:3", "fbeta:2:3"])
def test_a_case_that_counts_twice_is_a_case_that_is_there_twice(name):
    found = make(5, cases=8)
    weights = np.array([[1, 2, 0, 1, 1, 3, 1, 0]])
    columns = columns_of(table_of(found), CLASSES)
    repeated = columns.take(np.repeat(np.arange(8), weights[0]))
    metric = get_metric(name)
    assert metric.evaluate(columns, weights)[0] == pytest.approx(metric.value(repeated))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("map:2", "map:0.5"),
        ("froc:", "froc:5"),
        ("fbeta:1", "fbeta:4:6"),
    ],
)
def test_numbers_that_are_missing_or_mean_nothing_are_refused(name, message):
    with pytest.raises(UserError, match=f"metric '{name}' needs .*{message}"):
        get_metric(name)


def test_points_have_no_average_precision():
    with pytest.raises(UserError, match="objects are points: choose froc"):
        score("map:0.5", table_of(make(1, points=True)), CLASSES)


def test_a_table_without_detections_names_the_remedy():
    table = table_of(make(1)).drop(columns=["detections", "objects"])
    with pytest.raises(UserError, match="Detect2D"):
        score("froc:3", table, CLASSES)
