"""Counts on the public datasets, where they are at hand."""

from __future__ import annotations

import pytest

from heldout.data.image import BadFile
from heldout.data.sources import source_class

pytestmark = pytest.mark.realdata


def load(name, dataset, options=None):
    cls = source_class(name)
    source = cls(cls.locate(dataset, options or {}), **(options or {}))
    return source, source.index()


def complaint(source, row):
    try:
        source.read_image(row)
    except BadFile as error:
        return str(error)
    return ""


def test_fracatlas_counts_and_conflict():
    source, index = load("fracatlas", "FracAtlas")
    assert (len(index), index["y_fracture"].sum()) == (3470, 609)
    assert any("IMG0003298.jpg lies in Fractured/" in line for line in source.report())
    assert load("fracatlas", "FracAtlas", {"label_from": "csv"})[1]["y_fracture"].sum() == 608


@pytest.mark.parametrize(("case_id", "shape"), [("IMG0002628", (1, 373, 454)), ("IMG0002588", (1, 454, 181))])
def test_fracatlas_rotated_picture_agrees_with_its_outline(case_id, shape):
    source, index = load("fracatlas", "FracAtlas")
    row = index.set_index("case_id", drop=False).loc[case_id]
    mask, image = source.read_mask(row), source.read_image(row)
    assert mask.shape == image.array.shape == shape
    assert image.array[mask > 0].mean() > 80  # bright bone; 75 and 54 where the rotation is left out


def test_fracatlas_truncated_pictures_are_all_found():
    source, index = load("fracatlas", "FracAtlas")
    late = index[index["case_id"] > "IMG0004000"].to_dict("records")  # where all of them are
    bad = {row["case_id"]: row["y_fracture"] for row in late if complaint(source, row)}
    assert list(bad.values()) == [0.0] * 47
    messages = {complaint(source, row) for row in index[index["case_id"].isin(bad)].to_dict("records")}
    assert all("rows are missing" in message for message in messages)


def test_lgg_counts():
    source, index = load("lgg", "lgg-mri-segmentation")
    assert (len(index), index["patient_id"].nunique()) == (538, 20)
    shapes = {source.read_image(row).array.shape for row in index[::7].to_dict("records")}
    assert shapes == {(3, 256, 256)}


def test_brain_mri_counts():
    source, index = load("brain_mri", "brain_mri_images_for_brain_tumor_detection")
    assert (len(index), index["y_tumor"].sum()) == (213, 131)
    assert {source.read_image(row).array.shape[0] for row in index.to_dict("records")} == {1, 3}


def test_hippocampus_and_adrenal_counts():
    source, index = load("msd", "Task04_Hippocampus")
    assert (len(index), source.classes, source.report()) == (200, ("anterior", "posterior"), [])
    _, index = load("medmnist3d", "medmnist3d")
    assert (len(index), index["y_positive"].sum()) == (1286, 281)
