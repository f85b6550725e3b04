"""YOLO: text files of boxes and polygons beside images."""

from __future__ import annotations

import numpy as np
import pytest

from heldout.data.image import BadFile
from heldout.data.sources.yolo import Yolo, class_list, label_path, read_lines
from heldout.errors import UserError
from tests.data.miniatures import save
from tests.data.to_submission import yolo


def test_each_part_of_the_layout_is_what_it_says(tmp_path):
    yolo(tmp_path)
    source = Yolo(tmp_path)
    index = source.index().set_index("case_id", drop=False)
    assert (source.classes, source.kind, source.exclusive) == (("mass", "calcification"), "segmentation", False)
    assert index["split"].value_counts().to_dict() == {"": 24, "submit": 3}
    one, none = index.loc["scan_001"], index.loc["scan_000"]
    mask, objects = source.read_mask(one), source.objects(one, source.read_mask(one))
    ((kind, top, left, bottom, right),) = objects
    assert kind == 1
    assert not mask[0].any()
    rows, columns = np.nonzero(mask[1])
    drawn = [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]
    np.testing.assert_allclose(drawn, [top, left, bottom, right], atol=1)
    assert not source.read_mask(none).any()


def test_a_test_folder_with_text_files_is_locked_and_polygons_are_filled(tmp_path):
    for name in ("train/images/a", "train/images/b", "test/images/c"):
        save(tmp_path / f"{name}.png", np.zeros((20, 40), np.uint8))
    for folder, text in (("train", "0 0.25 0.5 0.75 0.5 0.5 1.0\n"), ("test", "1 0.5 0.5 0.5 0.5\n")):
        (tmp_path / folder / "labels").mkdir()
        (tmp_path / folder / "labels" / ("a.txt" if folder == "train" else "c.txt")).write_text(text)
    source = Yolo(tmp_path)
    index = source.index().set_index("case_id", drop=False)
    assert source.classes == ("class_0", "class_1")
    assert index["split"].to_dict() == {"a": "", "b": "", "c": "test"}
    assert any("1 images have no text file" in line for line in source.report())
    mask = source.read_mask(index.loc["a"])[0]
    assert 0 < mask.sum() < 0.75 * 20 * 10
    assert Yolo(tmp_path, draw="boxes").read_mask(index.loc["a"])[0].sum() == 20 * 10
    assert source.objects(index.loc["a"], mask[None]).tolist() == [[0, 10, 10, 20, 30]]


def test_where_a_text_file_is():
    assert label_path("images/train/x.jpg") == "labels/train/x.txt"
    assert label_path("flat/x.jpg") == "flat/x.txt"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 0.5 0.5 0.1", r"a.txt line 1 has 3 numbers: a box has 4"),
        ("0 0.5 0.5 0.1 0.1 0.2", r"line 1 has 5 numbers"),
        ("x 0.5 0.5 0.1 0.1", r"line 1 is 'x 0.5 0.5 0.1 0.1': write a class and numbers"),
        ("2 0.5 0.5 0.1 0.1", r"line 1 has the class 2, of 2 that are named: correct it"),
        ("0 50 50 10 10", r"line 1 leaves the image: write shares of its width and height"),
        ("0 nan 0.5 0.1 0.1", r"line 1 leaves the image"),
    ],
)
def test_a_damaged_line_is_named(tmp_path, line, message):
    (tmp_path / "a.txt").write_text(line)
    with pytest.raises(BadFile, match=message):
        read_lines(tmp_path / "a.txt", 2)


@pytest.mark.parametrize("text", ["train: x", "names: 3", "names: [", "names: []"])
def test_a_file_without_names_is_named(tmp_path, text):
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(UserError, match=r"data.yaml has no names of classes.*set source_options labels"):
        class_list(tmp_path / "data.yaml")


def test_images_without_any_text_file_are_refused(tmp_path):
    save(tmp_path / "images/a.png", np.zeros((8, 8), np.uint8))
    with pytest.raises(UserError, match=r"has no text file for any image, as labels/a.txt"):
        Yolo(tmp_path, labels="x").index()
