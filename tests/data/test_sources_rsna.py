"""The layout of RSNA Intracranial Aneurysm Detection 2025, on phantoms written in it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from heldout.config import BaseConfig
from heldout.data import cases as room
from heldout.data.image import BadFile
from heldout.data.readers.dicom import find_series
from heldout.data.sources import source_class
from heldout.data.sources.rsna_aneurysm import LOCATIONS
from heldout.errors import UserError
from tests.data.toy import get_source

SMALL = {"patients": 6, "size": 16, "slices": 8}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A small dataset, read-only by agreement."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HELDOUT_HOME", str(home))
        return source_class("phantom_aneurysm").locate("", SMALL)


@pytest.fixture
def root(made, tmp_path):
    """A copy that a test may spoil."""
    return Path(shutil.copytree(made, tmp_path / "rsna"))


def rsna(root, **options):
    source = get_source("rsna_aneurysm", root, options)
    return source, source.index()


def first_with_points(source, index):
    return next(row for row in index.to_dict("records") if source.localizers(row))


def test_cases_are_series_and_patients_come_from_the_headers(made):
    source, index = rsna(made)
    assert len(index) == 8  # two of six patients have a CT and an MR
    assert index["patient_id"].value_counts().tolist() == [2, *[1] * 6]  # the first series names no patient
    assert source.classes[-1] == "Aneurysm_Present"
    assert source.classes[:2] == (
        "Left_Infraclinoid_Internal_Carotid_Artery",
        "Right_Infraclinoid_Internal_Carotid_Artery",
    )
    present = index[[f"y_{name}" for name in source.classes[:-1]]].max(axis=1)
    assert (present == index["y_Aneurysm_Present"]).all()
    assert 0 < present.sum() < len(index)
    assert any("1 series name no patient (PatientID)" in line for line in source.caveats)
    assert [line for line in source.report() if "it is a scout" in line]
    quick, same = rsna(made, inspect=False)
    assert index.equals(same)
    assert quick.report() == []


def test_the_same_recipe_gives_the_same_bytes(made, tmp_path, monkeypatch):
    monkeypatch.setenv("HELDOUT_HOME", str(tmp_path))
    again = source_class("phantom_aneurysm").locate("", SMALL)
    names = sorted(path.relative_to(made) for path in made.rglob("*") if path.is_file())
    assert names == sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file())
    assert all((made / name).read_bytes() == (again / name).read_bytes() for name in names)
    with pytest.raises(UserError, match="was made with size = 16, not 20"):
        source_class("phantom_aneurysm").locate("", {**SMALL, "size": 20})


def test_localizers_point_at_the_aneurysm_in_image_and_patient(made):
    source, index = rsna(made)
    seen = set()
    for row in index.to_dict("records"):
        image = source.read_image(row)
        points = source.localizers(row)
        assert {point.location for point in points} == {
            name for name in LOCATIONS if row[f"y_{name.replace(' ', '_')}"] == 1
        }
        for point in points:
            voxel = np.clip(np.rint(point.voxel).astype(int), 0, np.array(image.array.shape[1:]) - 1)
            box = tuple(slice(max(n - 1, 0), n + 2) for n in voxel)
            assert image.array[0][box].max() >= 399  # the bright sphere
            side = {"Left": -1, "Right": 1}.get(point.location.split()[0])
            x = (image.affine @ (*point.voxel, 1))[0]
            assert side is None or np.sign(x) == side  # RAS: the patient's right is positive
            seen.add(point.location)
    assert len(seen) > 6


def test_points_become_balls_and_objects_on_the_grid_of_the_image(made):
    source = get_source("rsna_points", made, {"radius_mm": 12.0})
    plain, _ = rsna(made)
    index = source.index()
    assert source.classes == ("aneurysm",)
    for row in index.to_dict("records"):
        image, mask = source.read_image(row), source.read_mask(row)
        points, objects = plain.localizers(row), source.objects(row, mask)
        assert mask.shape == (1, *image.full_shape)
        assert mask.any() == bool(points) == bool(row["y_aneurysm"])
        assert objects.shape == (len(points), 7)
        for point, (number, *place) in zip(points, objects, strict=True):
            assert number == 0
            assert place == pytest.approx([*(np.array(point.voxel) + 0.5), *(np.array(point.voxel) + 0.5)])
        inside = np.argwhere(mask[0])
        if len(inside):
            places = inside @ image.affine[:3, :3].T + image.affine[:3, 3]
            marked = np.array([point.voxel for point in points]) @ image.affine[:3, :3].T + image.affine[:3, 3]
            nearest = np.linalg.norm(places[:, None] - marked[None], axis=-1).min(1)
            assert nearest.max() <= 12.0 + 10  # a voxel of its own for every point, however large voxels are


def test_a_point_that_cannot_be_placed_leaves_its_case_without_a_mask(root):
    row = first_with_points(*rsna(root))
    text = (root / "train_localizers.csv").read_text()
    (root / "train_localizers.csv").write_text(text.replace(f",{row['case_id']}.", f",{row['case_id']}.9"))
    source = get_source("rsna_points", root, {})
    index = source.index().set_index("case_id")
    with pytest.raises(BadFile, match="has no points that can be placed: leave it out"):
        source.read_mask({"case_id": row["case_id"], **index.loc[row["case_id"]]})


def test_ct_is_in_hounsfield_units_and_mr_is_not(made):
    source, index = rsna(made)
    ranges = [(image.array.min(), image.array.shape) for image in map(source.read_image, index.to_dict("records"))]
    assert {low < -900 for low, _ in ranges} == {True, False}
    assert {shape for _, shape in ranges} == {(1, 16, 16, 8)}


def test_a_missing_slice_is_filled_and_localizers_still_fit(root):
    source, index = rsna(root)
    row = first_with_points(source, index)
    before = [point.voxel for point in source.localizers(row)]
    whole = source.read_image(row)
    hit = {round(point.voxel[2]) for point in source.localizers(row)}
    files = find_files(source, row)
    drop = next(n for n in range(1, len(files) - 1) if n not in hit)
    Path(files[drop]).unlink()
    source, index = rsna(root)
    image = source.read_image(row)
    assert image.array.shape == whole.array.shape
    assert [point.voxel for point in source.localizers(row)] == [pytest.approx(voxel, abs=1e-3) for voxel in before]
    assert any("missing or unevenly spaced" in line for line in source.report())


def find_files(source, row):

    return find_series(source.paths(row["image"])[0])[0][0].files


def test_unlisted_and_missing_series_are_reported(root):
    source, index = rsna(root)
    first, second = index["case_id"][:2]
    shutil.rmtree(root / "series" / second)
    table = pd.read_csv(root / "train.csv", dtype=str)
    table[table["SeriesInstanceUID"] != first].to_csv(root / "train.csv", index=False)
    source, index = rsna(root)
    assert index.set_index("case_id").loc[first, "split"] == "submit"
    assert any(f"series/{first} is not listed" in line for line in source.report())
    assert any(f"series/{second} is missing" in line for line in source.report())
    with pytest.raises(BadFile, match=second):
        source.read_image(index.set_index("case_id", drop=False).loc[second])


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        ("train.csv", "Basilar Tip", "Basilar tip", "has no column 'Basilar Tip'"),
        ("train.csv", "MRA,0", "MRA,x", "= 'x': write 0 or 1"),
        ("train_localizers.csv", "{'x'", "{'u'", "has coordinates"),
        ("train_localizers.csv", "Left Mid", "Upper Mid", "has location = 'Upper Middle"),
    ],
)
def test_spoilt_tables_are_refused_by_name(root, file, old, new, words):
    path = root / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(UserError) as caught:
        rsna(root)
    assert file in str(caught.value)
    assert words in str(caught.value)


def test_a_localizer_of_a_slice_that_does_not_exist_is_refused(root):
    source, index = rsna(root)
    row = first_with_points(source, index)
    text = (root / "train_localizers.csv").read_text()
    (root / "train_localizers.csv").write_text(text.replace(f",{row['case_id']}.", f",{row['case_id']}.9"))
    with pytest.raises(BadFile, match=r"train_localizers.csv points at SOPInstanceUID"):
        rsna(root)[0].localizers(row)


def test_loose_series_are_cases_wherever_their_files_lie(root, tmp_path):
    source, index = rsna(root)
    loose = source.loose(root / "series")
    assert sorted(loose["name"]) == sorted(index["case_id"])
    flat = tmp_path / "flat"
    flat.mkdir()
    for number, path in enumerate(sorted(root.rglob("*.dcm"))):
        shutil.copy(path, flat / f"{number}.dcm")
    mixed = source.loose(flat)
    assert sorted(mixed["name"]) == sorted(index["case_id"])
    by_name = index.set_index("case_id", drop=False)
    for row in mixed.to_dict("records")[:3]:
        image, expected = source.read_image(row), source.read_image(by_name.loc[row["name"]])
        assert np.array_equal(image.array, expected.array)
        assert row["patient_id"]


def test_any_source_of_volumes_takes_loose_dicom(root, tmp_path):
    source = get_source("msd", tmp_path, {})
    rows = source.loose(root / "series").to_dict("records")
    assert len(rows) == 8
    assert source.read_image(rows[0]).array.shape == (1, 16, 16, 8)
    broken = root / "series" / rows[0]["name"] / "broken.dcm"
    broken.write_bytes(next(broken.parent.iterdir()).read_bytes()[:400])
    rows = source.loose(root / "series").to_dict("records")
    assert len(rows) == 9
    with pytest.raises(BadFile, match=r"broken.dcm"):
        [source.read_image(row) for row in rows]


class Aneurysms(BaseConfig):
    dataset = "phantom_aneurysm"
    source = "phantom_aneurysm"
    source_options = {"patients": 40, "size": 16, "slices": 8}
    fold_count = 2
    test_fraction = 0.2


def test_a_dataset_is_checked_split_and_watched(home):
    dataset = room.index_dataset(Aneurysms(), progress=False)
    cases = dataset.cases
    assert len(cases) == 54
    assert set(cases["split"]) == {"train", "test"}
    assert (cases.groupby("patient_id")["split"].nunique() == 1).all()
    folds = cases[cases["split"] == "train"].assign(fold=lambda rows: rows["case_id"].map(dataset.folds))
    assert (folds.groupby("patient_id")["fold"].nunique() == 1).all()
    row = folds.iloc[0]
    path = sorted((home / "input/phantom_aneurysm/series" / row["case_id"]).iterdir())[0]
    raw = bytearray(path.read_bytes())
    raw[-200] ^= 0x10
    path.write_bytes(raw)
    with pytest.raises(UserError, match=f"{row['case_id']}.*changed after it was indexed"):
        room.open_dataset(Aneurysms())


def test_a_table_may_name_folders_and_zips_of_dicom(root, tmp_path):
    names = sorted(path.name for path in (root / "series").iterdir())[:2]
    shutil.make_archive(str(root / "series" / "packed"), "zip", root / "series" / names[1])
    folder = tmp_path / "table"
    shutil.copytree(root / "series", folder)
    (folder / "index.csv").write_text(f"id,path,label_any\na,{names[0]},0\nb,packed.zip,1\n")
    source = get_source("table", folder, {"dimensions": 3})
    images = [source.read_image(row) for row in source.index().to_dict("records")]
    assert [image.array.shape for image in images] == [(1, 16, 16, 8)] * 2
    assert np.array_equal(images[1].array, rsna(root)[0].read_image({"image": f"series/{names[1]}"}).array)
