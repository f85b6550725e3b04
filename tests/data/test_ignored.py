"""``source_options = {"ignore": 255}``: from the files to prepared arrays and patches."""

from __future__ import annotations

import json

import cv2
import nibabel
import numpy as np
import pytest

from heldout.data.checks import check_case, presence
from heldout.data.foreground import sample_foreground
from heldout.data.image import BadFile
from heldout.data.sources import source_class
from heldout.errors import UserError


def table(folder, *values, name="m.png", **options):
    """A table of one case whose mask holds ``values`` in stripes, opened with options."""
    image = np.random.default_rng(0).integers(0, 255, (len(values) * 4, 12), dtype=np.uint8)
    mask = np.repeat(np.array(values, np.uint8), 4)[:, None].repeat(12, 1)
    cv2.imwrite(str(folder / "i.png"), image)
    cv2.imwrite(str(folder / name), mask)
    (folder / "cases.csv").write_text(f"id,path,mask\na,i.png,{name}\n")
    source = source_class("table")(folder, **options)
    return source, source.index().iloc[0]


@pytest.mark.parametrize(
    ("values", "labels", "ignore", "read"),
    [
        ((0, 1, 255), "", 255, [0, 1, 255]),
        ((0, 255), "", 255, [0, 255]),  # not the one class of a 0/255 image
        ((0, 1, 2, 255), "artery,vein", 255, [0, 1, 2, 255]),
        ((0, 255), "artery,vein", 255, [0, 255]),
        ((0, 1, 2), "", 2, [0, 1, 255]),
        ((0, 255), "", 2, [0, 1]),
        ((0, 255), "", -1, [0, 1]),
    ],
)
def test_the_value_to_ignore_is_read_as_255(tmp_path, values, labels, ignore, read):
    source, row = table(tmp_path, *values, labels=labels, ignore=ignore)
    assert np.unique(source.read_mask(row)).tolist() == sorted(read)
    assert check_case(source, row).labels == {name: float(k in read) for k, name in enumerate(source.classes, 1)}


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        ((0, 1, 255), {}, r'unknown label 255.*set source_options = \{"ignore": 255\}'),
        (
            (0, 255),
            {"labels": "artery,vein"},
            r'unknown label 255.*artery, vein.*set source_options = \{"ignore": 255\}',
        ),
        ((0, 1, 3, 255), {"ignore": 255}, "unknown label 3;"),
        ((0, 2, 255), {"ignore": 2}, "label 255 beside 2, which is ignored: give both one value"),
    ],
)
def test_other_values_are_refused_with_the_line_that_mends_it(tmp_path, values, options, message):
    source, row = table(tmp_path, *values, **options)
    with pytest.raises(BadFile, match=message):
        check_case(source, row)


@pytest.mark.parametrize("value", [0, 256, -2])
def test_only_labels_can_be_ignored(tmp_path, value):
    with pytest.raises(UserError, match=f"ignore = {value}: name a label from 1 to 255"):
        table(tmp_path, 0, 1, ignore=value)


def test_volumes_of_the_lesion_layouts_can_ignore_too(tmp_path):
    folder = tmp_path / "sub-1/anat"
    folder.mkdir(parents=True)
    image = np.random.default_rng(0).normal(size=(6, 6, 6)).astype(np.float32)
    mask = np.zeros((6, 6, 6), np.uint8)
    mask[:2], mask[2] = 1, 255
    nibabel.save(nibabel.Nifti1Image(image, np.eye(4)), folder / "sub-1_T1w.nii.gz")
    nibabel.save(nibabel.Nifti1Image(mask, np.eye(4)), folder / "sub-1_label-L_desc-T1lesion_mask.nii.gz")
    source = source_class("atlas")(tmp_path)
    with pytest.raises(BadFile, match=r'unknown label 255.*"ignore": 255'):
        check_case(source, source.index().iloc[0])
    source = source_class("atlas")(tmp_path, ignore=255)
    assert check_case(source, source.index().iloc[0]).labels == {"lesion": 1.0}


def test_ignored_voxels_are_no_foreground_and_no_presence():
    mask = np.array([[[0, 1, 255], [255, 2, 255]]], np.uint8)
    assert sample_foreground(mask, "a").tolist() == [[0, 0, 1], [1, 1, 1]]
    channels = np.array([[[0, 1, 255]], [[0, 0, 255]]], np.uint8)
    assert sample_foreground(channels, "a").tolist() == [[0, 0, 1]]
    assert sample_foreground(np.full((1, 2, 2), 255, np.uint8), "a").shape == (0, 3)
    assert presence(mask, 3) == [1, 1, 0]
    assert presence(channels, 2) == [1, 0]


def test_run_lengths_hold_nothing_to_ignore(tmp_path):
    source, _ = table(tmp_path, 0, 1)
    (tmp_path / "cases.csv").write_text("id,path,mask\na,i.png,1 3\n")
    source = source_class("table")(tmp_path, ignore=255)
    with pytest.raises(UserError, match=r"run lengths.*leave ignore out of source_options"):
        source.index()
    assert json.loads(source_class("table")(tmp_path).index()["image"][0]) == ["i.png"]
