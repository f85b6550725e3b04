"""docs/detection.md, followed to the letter: boxes and points from a table to a kernel that repeats the submission."""

from __future__ import annotations

import re

import cv2
import numpy as np
import pandas as pd
import pytest

from heldout.data.sources import source_class
from heldout.deliver.submission.detections import check_table, detection_table
from heldout.errors import UserError
from heldout.files import REPOSITORY
from heldout.tasks import Detect2D, Detect3D
from tests.followed import blocks, copy_project, follow

DOCUMENT = (REPOSITORY / "docs" / "detection.md").read_text(encoding="utf-8")
FASTER = {
    "epochs = 40": "epochs = 6",
    "epochs = 20": "epochs = 6",
    "(96, 96)": "(48, 48)",
    "(1.0, 1.0, 1.0)": "(5.0, 5.0, 5.0)",
    "(96, 96, 96)": "(32, 32, 32)",
    "--trials 20": "--trials 2",
    'source = "phantom"': 'source = "phantom"\n    source_options = {"patients": 14, "size": 48}',
}
FOUND = np.array([[1, 0.75, 1, 2, 3, 6, 9], [0, 0.5, 1, 10, 20, 14, 21.5]])


def write_dataset(folder) -> None:
    """Images with up to three bright boxes; six further ones are not in the table."""
    random = np.random.default_rng(0)
    rows = []
    for place, count in (("images", 60), ("test", 6)):
        (folder / place).mkdir(parents=True)
        for number in range(count):
            name, picture = f"{place[0]}{number:03d}.png", random.normal(60, 10, (48, 64))
            boxes = [] if number % 5 == 4 else [random.integers(2, 30, 2).tolist() + random.integers(8, 15, 2).tolist()]
            for x, y, w, h in boxes:
                picture[y : y + h, x : x + w] += 120
            cv2.imwrite(str(folder / place / name), picture.clip(0, 255).astype(np.uint8))
            if place == "images":
                patient = f"p{number // 2:02d}"
                rows += [[name, patient, *box, "nodule"] for box in boxes] or [[name, patient, "", "", "", "", ""]]
    columns = blocks(DOCUMENT, "csv")[0].splitlines()[0].split(",")
    pd.DataFrame(rows, columns=columns).to_csv(folder / "train.csv", index=False)


@pytest.mark.journey
def test_a_reader_gets_from_boxes_and_points_to_submissions(tmp_path, monkeypatch):
    copy_project(tmp_path)
    write_dataset(tmp_path / "input" / "nodules")
    monkeypatch.setenv("HELDOUT_HOME", str(tmp_path / "phantom"))
    made = source_class("phantom_aneurysm").locate("", {"patients": 12, "size": 20, "slices": 10})
    (tmp_path / "input" / "rsna-intracranial-aneurysm-detection").symlink_to(made)
    printed = follow(DOCUMENT, tmp_path, FASTER)

    assert (
        float(re.search(r"map:0.5 cross-fitted (\d\.\d+)", printed["blend exp100 exp101 --name boxes --trials 2"])[1])
        > 0.3
    )
    assert "equal to the last bit" in printed["kernel boxes --user me"]
    assert "equal to the last bit" in printed["kernel fewer --user me"]
    assert "post-processing of the experiment: smallest = " in printed["blend exp104 --name fewer"]
    sent = pd.read_csv(tmp_path / "submissions" / "boxes.csv", dtype=str, keep_default_na=False)
    assert sorted(sent["id"]) == [f"t{number:03d}.png" for number in range(6)]
    assert all(len(text.split()) % 5 == 0 for text in sent["detections"])
    assert any(sent["detections"])
    assert "out-of-fold froc:10 " in printed["exp103"]
    points = pd.read_csv(tmp_path / "submissions" / "exp102.csv")
    assert list(points) == ["id", "image", "type", "x", "y", "confidence"]


def test_rows_have_the_columns_that_are_asked_for():
    config = Detect2D(detection_columns={"row": "number", "image": "case", "kind": "class", "cx": "cx", "top": "y1"})
    table = detection_table(config, [("a", FOUND), ("b", None)], ("one", "two"), None)
    assert table.to_numpy().tolist() == [[0, "a", "two", 6.0, 2.0], [1, "a", "one", 20.75, 10.0]]


def test_rows_of_volumes_have_three_axes():
    found = np.array([[0, 0.5, 1, 1, 2, 3, 5, 7, 9]])
    table = detection_table(Detect3D(), [("a", found)], ("one",), None)
    assert table.to_dict("records") == [
        {"id": "a", "score": 0.5, "x": 1.0, "y": 2.0, "z": 3.0, "w": 4.0, "h": 5.0, "d": 6.0}
    ]


def test_a_text_per_case_follows_the_sample():
    config = Detect2D(
        detection_text="{class} {score} {x1:.0f} {y1:.0f} {x2:.0f} {y2:.0f}", no_detection="none 1 0 0 1 1"
    )
    sample = pd.DataFrame({"image": ["b", "a"], "PredictionString": ["", ""]})
    table = detection_table(config, [("a", FOUND), ("b", FOUND[:0])], ("one", "two"), sample)
    assert table.to_numpy().tolist() == [["b", "none 1 0 0 1 1"], ["a", "two 0.75 3 2 9 6 one 0.5 20 10 22 14"]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": "c"}, "row 2 has id = 'c', which is not a case"),
        ({"x": "inf"}, "row 2 has x = 'inf', which is not a finite number"),
    ],
)
def test_a_bad_row_is_named(change, message):
    config = Detect2D(detection_columns={"id": "case", "x": "x"})
    table = pd.DataFrame([{"id": "a", "x": "1.5", **change}])
    with pytest.raises(UserError, match=message):
        check_table(config, table, ["a", "b"], "the file")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"detection_columns": {"x": "left"}}, "detection_columns holds 'left'"),
        ({"detection_text": "{left}"}, "cannot be filled"),
        ({"detection_text": "{x}", "detection_columns": {"x": "x"}}, "leave out detection_text"),
        ({"submission": "detections", "sample_submission": "s.csv"}, "set it to None and name the columns"),
    ],
)
def test_forms_that_cannot_be_written_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Detect2D(**fields)
