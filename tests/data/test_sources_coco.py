"""COCO files: what is drawn, which part an image is in, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

from heldout.data.image import BadFile
from heldout.errors import UserError
from tests.data.miniatures import SIDES, coco, picture
from tests.data.toy import get_source


@pytest.fixture
def annotated(tmp_path):
    coco(tmp_path)
    return tmp_path


def change(root, edit):
    path = root / "annotations/instances_train.json"
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def test_run_lengths_of_both_kinds_and_polygons_are_drawn(annotated):
    source = get_source("coco", annotated, {})
    rows = source.index().to_dict("records")
    assert [row["split"] for row in rows].count("submit") == 4
    marks = json.loads((annotated / "annotations/instances_train.json").read_text())["annotations"]
    by_image = {f"{mark['image_id']:04d}": mark for mark in marks}
    for row in rows:
        if row["split"] == "submit":
            continue
        number = int(row["case_id"])
        drawn, mark = source.read_mask(row), by_image.get(row["case_id"])
        assert drawn.shape == (2, *SIDES)
        if mark is None:
            assert not drawn.any()
            continue
        own = drawn[mark["category_id"] - 2]
        assert not drawn[3 - mark["category_id"]].any()
        _, mask = picture(number, number % 3)
        if isinstance(mark["segmentation"], dict):
            assert np.array_equal(own, mask)
        else:
            x, y, w, h = mark["bbox"]
            assert own[y : y + h, x : x + w].mean() > 0.99
            assert own.sum() <= w * h


def test_boxes_and_single_categories(annotated):
    source = get_source("coco", annotated, {"draw": "boxes", "categories": "metal"})
    assert source.classes == ("metal",)
    row = next(row for row in source.index().to_dict("records") if row["split"] == "" and source.read_mask(row).any())
    mask = source.read_mask(row)[0]
    rows, columns = np.nonzero(mask)
    assert mask[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].all()


def test_patients_are_pieces_of_the_names(annotated):
    source = get_source("coco", annotated, {"patient": "{patient}.png"})
    assert source.caveats == ()
    assert source.index()["patient_id"].tolist()[-1] == "0023"
    with pytest.raises(UserError, match=r"0000.png is not of the form x_\{patient\}.png: correct .* patient"):
        get_source(
            "coco", annotated, {"patient": "x_{patient}.png", "file": "annotations/instances_train.json"}
        ).index()


def test_a_missing_image_is_left_out_and_listed(annotated):
    (annotated / "images/train/0003.png").unlink()
    source = get_source("coco", annotated, {})
    assert len(source.index()) == 27
    assert "0003.png of annotations/instances_train.json is missing and is left out" in source.report()


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda content: content.pop("categories"), r"instances_train.json is not a COCO file.*categories"),
        (
            lambda content: content["annotations"][0].pop("image_id"),
            r"instances_train.json is not a COCO file.*image_id",
        ),
        (lambda content: content["annotations"].clear(), "has no annotation: name the right file"),
    ],
)
def test_a_damaged_file_is_named(annotated, edit, message):
    change(annotated, edit)
    with pytest.raises(UserError, match=message):
        get_source("coco", annotated, {"file": "annotations/instances_train.json"}).index()


def test_an_annotation_of_another_size_is_a_bad_case(annotated):
    def resize(content):
        for mark in content["annotations"]:
            mark["segmentation"] = {"size": [10, 10], "counts": [0, 100]}

    change(annotated, resize)
    source = get_source("coco", annotated, {})
    row = next(row for row in source.index().to_dict("records") if row["case_id"] == "0001")
    with pytest.raises(BadFile, match=r"of 10 x 10 pixels, the image of 48 x 64: .* restore it"):
        source.read_mask(row)


def test_categories_that_are_called_the_same_here_are_refused(annotated):
    path = annotated / "annotations" / "instances_train.json"
    content = json.loads(path.read_text())
    first, second, *_ = content["categories"]
    first["name"], second["name"] = "a b", "a c"
    path.write_text(json.dumps(content))
    options = {"file": "annotations/instances_train.json"}
    own = get_source("coco", annotated, options).own_classes()
    assert {"a_b": "a b", "a_c": "a c"}.items() <= own.items()
    second["name"] = "a_b"
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="'a b' and 'a_b', which are both called a_b here: rename one"):
        get_source("coco", annotated, options).index()
