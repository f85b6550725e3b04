import numpy as np
import pandas as pd
import pytest

from heldout.data import cases as room
from heldout.data.checks import check_case, check_cases
from heldout.data.sources import Source
from heldout.errors import UserError
from tests.data import toy


@pytest.fixture
def raw(tmp_path, monkeypatch):
    folder = toy.install(monkeypatch, tmp_path)
    toy.segmentation_toy(folder)
    return folder


def replace(folder, case_id, image=None, mask=None):
    for name, array in (("image", image), ("mask", mask)):
        if array is not None:
            np.save(folder / f"{case_id}.{name}.npy", array)


def edit(folder, case_id, column, value):
    table = pd.read_csv(folder / "index.csv", dtype=str, keep_default_na=False)
    table.loc[table["case_id"] == case_id, column] = value
    table.to_csv(folder / "index.csv", index=False)


DEFECTS = {
    "nan": (lambda f: replace(f, "p03_1", np.full((1, 24, 20), np.nan, np.float32)), "NaN or infinite"),
    "infinite": (
        lambda f: replace(f, "p03_1", np.where(np.eye(24, 20), np.inf, 1.0)[None]),
        "NaN or infinite",
    ),
    "constant": (lambda f: replace(f, "p03_1", np.full((1, 24, 20), 7, np.uint8)), "empty, every pixel is 7"),
    "mask shape": (lambda f: replace(f, "p03_1", mask=np.zeros((1, 20, 24), np.uint8)), "shape.*must agree"),
    "unknown label": (
        lambda f: replace(f, "p03_1", mask=np.full((1, 24, 20), 4, np.uint8)),
        "unknown label 4.*background, lesion",
    ),
    "fractional mask": (lambda f: replace(f, "p03_1", mask=np.zeros((1, 24, 20))), "store whole numbers"),
    "mask channels": (lambda f: replace(f, "p03_1", mask=np.zeros((2, 24, 20), np.uint8)), "2 channels instead of 1"),
    "axes": (lambda f: replace(f, "p03_1", toy.textured(1, (1, 4, 4, 4))), "a channel and 2 filled axes"),
    "channels": (lambda f: replace(f, "p03_1", toy.textured(1, (4, 24, 20))), "4 channels, most cases have 1"),
    "truncated": (lambda f: replace(f, "p03_1", np.zeros((1, 24, 20), np.int8)), "truncated"),
    "missing file": (lambda f: (f / "p03_1.image.npy").unlink(), "FileNotFoundError"),
    "broken file": (lambda f: (f / "p03_1.image.npy").write_bytes(b"\x93NUMPY\x01"), "cannot be read"),
    "no patient": (lambda f: edit(f, "p03_1", "patient_id", ""), "names no patient"),
    "unknown part": (lambda f: edit(f, "p03_1", "split", "tset"), "split 'tset' is unknown"),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_a_bad_case_is_named_with_the_remedy_and_can_be_set_aside(raw, name):
    spoil, words = DEFECTS[name]
    spoil(raw)
    with pytest.raises(UserError, match=f"(?s)--skip-bad.*p03_1.*{words}"):
        room.index_dataset(toy.toy_config(), progress=False)
    dataset = room.index_dataset(toy.toy_config(), skip_bad=True, progress=False)
    skipped = room.leak_report(dataset).skipped
    assert [case.case_id for case in skipped] == ["p03_1"]
    assert skipped[0].file == "p03_1.image.npy"
    assert "p03_1" not in set(dataset.cases["case_id"])
    assert len(dataset.cases) == 23


def test_an_unsafe_case_id_is_refused(raw):
    edit(raw, "p03_1", "case_id", "../p03_1")
    with pytest.raises(UserError, match=r"\.\./p03_1.*rename the case"):
        room.index_dataset(toy.toy_config(), progress=False)


def test_duplicate_case_ids_are_refused(raw):
    source = toy.Toy(raw)
    index = source.index()
    _, problems = check_cases(source, pd.concat([index, index.iloc[:1]]), progress=False)
    assert [problem.case_id for problem in problems] == ["p00_0", "p00_0"]
    assert "occurs 2 times" in problems[0].reason


def test_all_problems_are_collected_before_stopping(raw):
    for patient in range(7):
        replace(raw, f"p{patient:02d}_0", np.zeros((1, 24, 20), np.uint8))
    with pytest.raises(UserError, match=r"(?s)7 of its cases.*p00_0.*p04_0.*and 2 more") as error:
        room.index_dataset(toy.toy_config(), progress=False)
    assert "p05_0" not in str(error.value)


def test_labels_of_a_segmentation_come_from_its_masks(raw):
    source = toy.Toy(raw)
    rows = {row["case_id"]: row for row in source.index().to_dict("records")}
    assert check_case(source, rows["p03_1"]).labels == {"lesion": 1.0}
    assert check_case(source, rows["p02_0"]).labels == {"lesion": 0.0}


def test_a_classified_case_needs_a_label_and_exclusive_classes_exactly_one(tmp_path, monkeypatch):
    raw = toy.install(monkeypatch, tmp_path)
    rows = [{"case_id": "a", "patient_id": "a", "y_cat": 1, "y_dog": 1}]
    rows.append({"case_id": "b", "patient_id": "b", "y_cat": np.nan, "y_dog": 0})
    toy.write_toy(raw, rows, {"a": toy.textured(1), "b": toy.textured(2)}, {})
    source = toy.Toy(raw, classes="cat,dog", kind="classification")
    _, problems = check_cases(source, source.index(), progress=False)
    assert "2 of the exclusive classes" in problems[0].reason
    assert "no label for cat" in problems[1].reason


def test_a_mask_that_lies_elsewhere_in_the_patient_is_refused(tmp_path):
    import nibabel as nib

    class NiftiToy(toy.Toy):
        read_image, read_mask = Source.read_image, Source.read_mask

    generator = np.random.default_rng(0)
    for name, array in (("a.image", generator.random((6, 7, 8))), ("a.mask", generator.integers(0, 2, (6, 7, 8)))):
        nib.save(nib.Nifti1Image(array.astype(np.float32), np.eye(4)), tmp_path / f"{name}.nii.gz")
    source = NiftiToy(tmp_path, dimensions=3)
    row = {"case_id": "a", "patient_id": "a", "split": "", "image": "a.image.nii.gz", "mask": "a.mask.nii.gz"}
    row["y_lesion"] = np.nan
    assert check_case(source, row).labels == {"lesion": 1.0}
    shifted = np.eye(4)
    shifted[0, 3] = 2
    nib.save(nib.Nifti1Image(np.ones((6, 7, 8), np.uint8), shifted), tmp_path / "a.mask.nii.gz")
    with pytest.raises(UserError, match=r"case a: a\.mask\.nii\.gz has another affine.*resample the mask"):
        check_case(source, row)


def test_the_result_does_not_depend_on_the_number_of_processes(raw):
    source = toy.Toy(raw)
    replace(raw, "p03_1", np.zeros((1, 24, 20), np.uint8))
    alone, several = (check_cases(source, source.index(), progress=False, workers=n) for n in (1, 2))
    assert alone[1] == several[1]
    for left, right in zip(alone[0], several[0], strict=True):
        assert (left and left.content_hash) == (right and right.content_hash)
        assert left is None or (left.signature.detail == right.signature.detail).all()
