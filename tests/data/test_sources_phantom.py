"""The built-in phantoms: deterministic, quick, in real formats."""

from __future__ import annotations

import hashlib
import time

import nibabel
import numpy as np
import pytest

from heldout.data.sources.phantom import Phantom
from heldout.errors import UserError
from tests.data.toy import get_source

SMALL = {"patients": 12, "images_per_patient": 2, "size": 48}


def digest(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    content = b"".join(str(path.relative_to(folder)).encode() + path.read_bytes() for path in files)
    return hashlib.sha256(content).hexdigest()


def test_default_dataset_is_quick_and_has_rare_positives(home):
    start = time.perf_counter()
    root = Phantom.locate("phantom", {})
    assert time.perf_counter() - start < 15  # a second on an idle machine
    assert root == home / "input/phantom"
    source = get_source("phantom", root, {})
    index = source.index()
    known = index[index["split"] == ""]
    positive = known[(known["y_small"] > 0) | (known["y_large"] > 0)]
    assert len(known) == 160
    assert 0.2 < positive["patient_id"].nunique() / known["patient_id"].nunique() < 0.4
    assert 0.1 < len(positive) / len(known) < 0.3
    for name in ("y_small", "y_large"):
        assert known[known[name] > 0]["patient_id"].nunique() >= 6
    hidden = index[index["split"] == "submit"]
    assert len(hidden) == 16
    assert (hidden["mask"] == "").all()
    assert hidden[["y_small", "y_large"]].isna().all(axis=None)
    sample = (root / "sample_submission.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in sample[1:]] == list(hidden["case_id"])
    for row in known.to_dict("records")[::9]:
        mask = source.read_mask(row)
        assert mask.shape[0] == 2
        assert mask.any(axis=(1, 2)).tolist() == [row["y_small"] == 1, row["y_large"] == 1]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("phantom.json", "5", r"phantom\.json is not a JSON object .*: delete the folder .*phantom, it will be made"),
        ("phantom.json", "[]", r"phantom\.json is not a JSON object .*: delete the folder"),
        ("cases.csv", "id,label\na,1\n", r"cases\.csv has no column 'case_id': .*; delete the folder .*phantom, it"),
        (
            "cases.csv",
            "case_id,patient_id,image,mask,split,y_small,y_large\na,a,a.png,,,yes,0\n",
            r"cases\.csv, case a, has y_small = 'yes': a target is a number",
        ),
    ],
)
def test_files_of_a_made_dataset_that_others_wrote_are_named(home, name, content, message):
    (Phantom.locate("phantom", SMALL) / name).write_text(content)
    with pytest.raises(UserError, match=message):
        get_source("phantom", Phantom.locate("phantom", SMALL), SMALL).index()


def test_nothing_is_left_beside_the_dataset(home):
    Phantom.locate("phantom", SMALL)
    assert [path.name for path in (home / "input").iterdir()] == ["phantom"]


@pytest.mark.parametrize("dimensions", [2, 3])
def test_the_same_options_give_the_same_bytes(home, dimensions):
    options = {**SMALL, "dimensions": dimensions, "size": 32}
    first, second = Phantom.locate("a", options), Phantom.locate("b", options)
    assert digest(first) == digest(second)
    assert digest(Phantom.locate("c", {**options, "seed": 1})) != digest(first)


def test_volumes_are_oblique_anisotropic_and_oriented_variously(home):
    options = {**SMALL, "dimensions": 3}
    root = Phantom.locate("phantom3d", options)
    source = get_source("phantom", root, options)
    index = source.index()
    assert source.dimensions == 3
    orientations = set()
    for row in index.to_dict("records"):
        image = source.read_image(row)
        orientations.add(nibabel.aff2axcodes(image.affine))
        assert sorted(np.round(nibabel.affines.voxel_sizes(image.affine), 3)) == [2, 2, 4]
        if row["mask"]:
            assert source.read_mask(row).shape == (2, *image.array.shape[1:])
    assert len(orientations) > 1


def test_label_map_where_classes_are_exclusive(home):
    root = Phantom.locate("phantom", SMALL)
    source = get_source("phantom", root, {**SMALL, "exclusive": True})
    rows = [row for row in source.index().to_dict("records") if row["y_large"] == 1]
    mask = source.read_mask(rows[0])
    assert len(mask) == 1
    assert mask.max() == 2


def test_other_options_for_an_existing_folder_are_refused(home):
    Phantom.locate("phantom", SMALL)
    with pytest.raises(UserError, match="made with seed = 0, not 1: delete that folder"):
        Phantom.locate("phantom", {**SMALL, "seed": 1})
    with pytest.raises(UserError, match="patients = 3: at least 10"):
        Phantom.locate("other", {**SMALL, "patients": 3})


def test_loose_takes_images_only(home):
    root = Phantom.locate("phantom", SMALL)
    source = get_source("phantom", root, SMALL)
    assert len(source.loose(root / "submit")) == 4
    assert not source.loose(root)["name"].str.startswith("masks").any()
