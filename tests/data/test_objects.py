"""Objects to detect, as layouts list them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image as Pillow

from heldout.data.image import BadFile
from heldout.errors import UserError
from tests.data.miniatures import coco
from tests.data.toy import get_source


def pictures(folder, count=2):
    (folder / "images").mkdir()
    for number in range(count):
        Pillow.fromarray(np.full((20, 30), 9, np.uint8)).save(folder / f"images/a{number}.png")


def read(folder, table, **options):
    (folder / "train.csv").write_text(table)
    source = get_source("table", folder, {"path": "images/{id}.png", **options})
    row = source.index().iloc[0]
    return source, row


def test_boxes_of_a_table_are_objects_even_where_they_overlap(tmp_path):
    pictures(tmp_path)
    source, row = read(tmp_path, "id,x,y,w,h\na0,2,3,10,5\na0,4,4,10,5.5\na1,,,,\n", box="x, y, w, h")
    objects = source.objects(row, source.read_mask(row))
    assert objects.tolist() == [[0, 3, 2, 8, 12], [0, 4, 4, 9.5, 14]]
    empty = source.index().iloc[1]
    assert source.objects(empty, source.read_mask(empty)).shape == (0, 5)


def test_points_of_a_table_have_a_ball_around_them(tmp_path):
    pictures(tmp_path)
    table = "id,x,y,kind\na0,5.5,10.5,b\na0,25.5,3.5,a\na1,1,1,a\n"
    source, row = read(tmp_path, table, point="x, y", radius=3.0, **{"class": "kind"})
    mask = source.read_mask(row)
    assert source.classes == ("a", "b")
    assert mask.shape == (2, 20, 30)
    assert mask.sum((1, 2)).tolist() == [29, 29]
    assert mask[1, 10, 5] == mask[0, 3, 25] == 1
    assert source.objects(row, mask).tolist() == [[1, 10.5, 5.5, 10.5, 5.5], [0, 3.5, 25.5, 3.5, 25.5]]


def test_points_of_volumes_have_three_coordinates(tmp_path):
    import nibabel

    (tmp_path / "images").mkdir()
    nibabel.save(
        nibabel.Nifti1Image(np.zeros((12, 14, 16), np.int16), np.diag([2, 2, 3, 1.0])), tmp_path / "images/a0.nii.gz"
    )
    source, row = read(
        tmp_path, "id,x,y,z\na0,4.5,5.5,6.5\n", point="x, y, z", radius=1.0, dimensions=3, path="images/{id}.nii.gz"
    )
    mask = source.read_mask(row)
    assert np.argwhere(mask[0]).tolist() == [
        [3, 5, 6],
        [4, 4, 6],
        [4, 5, 5],
        [4, 5, 6],
        [4, 5, 7],
        [4, 6, 6],
        [5, 5, 6],
    ]
    assert source.objects(row, mask).tolist() == [[0, 4.5, 5.5, 6.5, 4.5, 5.5, 6.5]]


@pytest.mark.parametrize(
    ("table", "error", "message"),
    [
        ("id,x,y\na0,31,4\n", BadFile, "point 31 4 leaves an image of 20 x 30"),
        ("id,x,y\na0,3,\n", UserError, "row 2 has the point 3, : write two numbers"),
        ("id,x,y\na0,3,inf\n", UserError, "row 2 has the point 3, inf"),
    ],
)
def test_a_bad_point_names_its_row_or_case(tmp_path, table, error, message):
    pictures(tmp_path)

    def draw():
        source, row = read(tmp_path, table, point="x, y")
        return source.read_mask(row)

    with pytest.raises(error, match=message):
        draw()


def test_points_of_pictures_have_two_columns(tmp_path):
    pictures(tmp_path)
    with pytest.raises(UserError, match="must name 2 columns"):
        read(tmp_path, "id,x,y,z\na0,1,2,3\n", point="x, y, z")


def test_annotations_of_coco_are_objects(tmp_path):
    coco(tmp_path)
    path = tmp_path / "annotations/instances_train.json"
    content = json.loads(path.read_text())
    for mark in content["annotations"]:
        mark["bbox"] = [3, 4, 10, 6]
    path.write_text(json.dumps(content))
    source = get_source("coco", tmp_path, {})
    marked = {f"{mark['image_id']:04d}" for mark in content["annotations"]}
    row = next(row for row in source.index().to_dict("records") if row["case_id"] in marked)
    assert source.objects(row, source.read_mask(row))[0, 1:].tolist() == [4, 3, 10, 13]


def test_regions_of_a_mask_are_objects_where_nothing_is_listed(tmp_path, home):
    from heldout.config import load
    from heldout.data.cases import open_source

    source = open_source(load("exp001", None, ["source_options={'patients':12,'size':64}"]))
    rows = [row for row in source.index().to_dict("records") if row["mask"]]
    found = [source.objects(row, source.read_mask(row)) for row in rows]
    assert sum(map(len, found)) > 0
    for row, objects in zip(rows, found, strict=True):
        mask = source.read_mask(row)
        for number, top, left, bottom, right in objects.astype(int):
            assert mask[number if len(mask) > 1 else 0, top:bottom, left:right].any()
