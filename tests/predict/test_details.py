"""Lesions, surfaces and volumes beside the voxel counts of a table, where an experiment asks for them."""

from __future__ import annotations

import json
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from heldout.errors import UserError
from heldout.metrics import score
from heldout.metrics.detection import overlaps
from heldout.predict.details import MASK_COLUMNS, detections_text, mask_details, true_objects
from heldout.predict.prediction import Prediction
from heldout.predict.store import build_table
from heldout.tasks.detect import Detect3D
from heldout.tasks.finder import Finder
from heldout.tasks.segment import Segment2D, Segment3D
from tests.data.toy import get_source

CLASSES = ("a", "b")


def dataset(size=(1.0, 2.0, 3.0)):
    source = SimpleNamespace(classes=CLASSES, voxel_axes=lambda _: None if size is None else np.diag((*size, 1.0)[:3]))
    return source, lambda case_id: {"case_id": case_id}


def case(exclusive):
    """A truth with two lesions of ``a`` and one of ``b``; the prediction finds one of each and invents one of ``b``."""
    truth, pred = np.zeros((2, 2, 9, 9, 3), np.uint8)
    truth[0, 1:3, 1:3], truth[0, 6:8, 1:3], truth[1, 4, 6] = 1, 1, 1
    pred[0, 1:3, 1:2], pred[1, 4, 6], pred[1, 8, 8] = 1, 1, 1
    if exclusive:
        truth, pred = (np.maximum(mask[:1], 2 * mask[1:]) for mask in (truth, pred))
        pred = np.concatenate([pred == 1, pred == 2]).astype(np.uint8)
    return Prediction("one", np.array([0.9, 0.9], np.float32), pred * 255), truth


def table(config, *, exclusive=False, size=(1.0, 2.0, 3.0)):
    rows = pd.DataFrame({"case_id": ["one"], "patient_id": ["p"], "fold": [0], "y_a": [1.0], "y_b": [1.0]})
    prediction, truth = case(exclusive)
    return build_table(
        rows, [prediction], lambda _: truth, exclusive=exclusive, details=mask_details(config, *dataset(size))
    )


@pytest.mark.parametrize("exclusive", [False, True])
def test_everything_that_is_asked_for_stands_in_the_table(exclusive):
    frame = table(Segment3D(mask_details=("lesions", "surface", "volume")), exclusive=exclusive)
    row = frame.iloc[0]
    assert [row[f"{kind}_a"] for kind in ("lesions", "found", "regions", "false")] == [2, 1, 1, 0]
    assert [row[f"{kind}_b"] for kind in ("lesions", "found", "regions", "false")] == [1, 1, 2, 1]
    assert row["voxel_mm3"] == 6
    assert row["hd95_a"] > row["assd_a"] > 0
    assert score("lesion_f1_pos", frame, CLASSES) == pytest.approx(2 / 3)
    beside = {"case_id", "patient_id", "fold", "y_a", "y_b", "p_a", "p_b"}
    assert all(name.startswith(MASK_COLUMNS) for name in set(frame.columns) - beside)


@pytest.mark.parametrize("tilt", [0.0, 0.6, -0.6])
def test_points_in_sheared_voxels_are_as_far_apart_as_they_are(tilt):
    axes = np.array([[1.0, 0, 0], [0, 1.0, tilt], [0, 0, 2.0]])
    places = np.array([[0, 5.5, 5.5, 2.5, 5.5, 5.5, 2.5], [0, 5.5, 7.5, 6.5, 5.5, 7.5, 6.5]])
    source = SimpleNamespace(voxel_axes=lambda _: axes, objects=lambda *_: places)
    text, steps = true_objects(source, {}, np.zeros((1, 9, 9, 9)), Finder(objects="points"))
    one, other = np.array(json.loads(text))[:, 1:4]
    assert np.linalg.norm(one - other) == pytest.approx(np.linalg.norm(axes @ [0, 2, 4]), abs=1e-3)
    (again,) = json.loads(detections_text(np.array([[0, 0.9, 1, *places[0, 1:]]]), steps))
    assert again[3:] == json.loads(text)[0][1:]


def test_boxes_in_sheared_voxels_overlap_as_much_as_in_others():
    boxes = np.array([[0, 1, 1, 1, 5, 5, 5], [0, 1, 2, 3, 5, 6, 7]])
    found = []
    for tilt in (0.0, 0.6):
        axes = np.array([[1.0, 0, 0], [0, 1.0, tilt], [0, 0, 2.0]])
        source = SimpleNamespace(voxel_axes=lambda _, axes=axes: axes, objects=lambda *_: boxes)
        text, _ = true_objects(source, {}, np.zeros((1, 9, 9, 9)), Finder(objects="boxes"))
        rows = np.array(json.loads(text))[:, 1:]
        found.append(overlaps(0.0, rows[:1], rows[1:]).item())
    assert found[0] == pytest.approx(found[1])


def test_nothing_is_measured_unless_the_experiment_or_its_metric_asks():
    assert mask_details(Segment3D(), *dataset()) is None
    assert "lesions_a" not in table(Segment3D())
    assert "lesions_a" in table(Segment3D(metric="lesion_f1_pos"))
    assert "hd95_a" not in table(Segment3D(metric="patient:lesion_f1_pos"))
    assert "hd95_a" in table(Segment3D(metric="hd95_pos"))


def test_pictures_without_a_voxel_size_are_measured_in_pixels_and_have_no_volume():
    config = Segment2D(mask_details=("surface", "volume"))
    measure = mask_details(config, *dataset(None))
    mask = np.zeros((2, 8, 8), np.uint8)
    mask[:, 2, 2] = 1
    found = measure("one", mask, np.roll(mask, 3, axis=2), 255 * mask)
    assert found == {"hd95_a": 3, "assd_a": 3, "hd95_b": 3, "assd_b": 3}


def test_a_table_of_before_is_scored_as_before_and_refuses_what_it_lacks():
    frame = table(Segment3D())
    assert score("dice_pos", frame, CLASSES) > 0
    with pytest.raises(UserError, match="mask_details"):
        score("lesion_f1_pos", frame, CLASSES)


@pytest.mark.parametrize("metric", ["froc:5", "fbeta:1:5"])
def test_points_of_volumes_are_hit_within_millimeters(tmp_path, metric):
    """One is 12 mm off in two slices, the other 4 mm in eight pixels: in pixels it is the other way round."""
    for name in ("one", "two"):
        volume = nib.Nifti1Image(np.zeros((40, 40, 12), np.int16), np.diag((-0.5, 0.5, 6.0, 1.0)))
        nib.save(volume, tmp_path / f"{name}.nii.gz")
    (tmp_path / "data.csv").write_text(
        "id,path,x,y,z,class\none,one.nii.gz,10.5,10.5,5.5,a\ntwo,two.nii.gz,10.5,10.5,5.5,a\n"
    )
    source = get_source(
        "table", tmp_path, {"point": "x, y, z", "radius": 1.0, "dimensions": 3, "class": "class", "labels": "a"}
    )
    index = source.index().set_index("case_id", drop=False)
    maps = {name: np.zeros((1, 40, 40, 12), np.uint8) for name in ("one", "two")}
    maps["one"][0, 10, 10, 7] = 200  # 12 mm
    maps["two"][0, 18, 10, 5] = 200  # 4 mm
    rows = index[["case_id", "patient_id", "y_a"]].assign(y_a=1.0).reset_index(drop=True)
    config = Detect3D(objects="points", metric=metric)

    def hits():
        details = mask_details(config, source, lambda case_id: index.loc[case_id].to_dict())
        found = (Prediction(name, np.array([0.8], np.float32), map_) for name, map_ in maps.items())
        truth = lambda name: source.read_mask(index.loc[name].to_dict())  # noqa: E731 - one expression
        frame = build_table(rows, found, truth, exclusive=False, details=details)
        frames = {name: frame[frame["case_id"] == name].reset_index(drop=True) for name in maps}
        return {name: score(metric, one, ("a",)) > 0 for name, one in frames.items()}

    assert hits() == {"one": False, "two": True}
    object.__setattr__(source, "voxel_axes", lambda _: None)
    assert hits() == {"one": True, "two": False}, "without a voxel size distances are in pixels"
