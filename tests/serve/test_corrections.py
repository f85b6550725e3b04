"""Reviews are kept in versions and become a dataset."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zipfile

import cv2
import httpx
import nibabel
import numpy as np
import pytest

from heldout.errors import UserError
from heldout.serve import corrections
from tests.data.dicom_toy import ct_files

pytestmark = pytest.mark.extras


def _review(server, image, verdict, **given):
    mask = given.pop("mask", None)
    files = {"file": image} | ({"mask": mask} if mask else {})
    return httpx.post(f"{server.url}/v1/corrections", files=files, data={"verdict": verdict, **given}, timeout=60)


def test_versions_of_a_volume_become_a_dataset(server, served_home, volume, tmp_path, monkeypatch):
    monkeypatch.setenv("HELDOUT_HOME", str(served_home))
    first = _review(server, volume, "accepted", model="volumes")
    assert first.status_code == 201, first.text
    drawn = np.zeros((32, 28, 20), np.uint8)
    drawn[5:9, 5:9, 5:9] = 1
    mask = gzip.compress(nibabel.Nifti1Image(drawn, np.diag([-1.0, 1.0, 2.0, 1.0])).to_bytes())
    second = _review(server, volume, "corrected", model="volumes", mask=mask, comment="=SUM(A1)").json()
    assert second["version"] == first.json()["version"] + 1
    assert second["seal"] == first.json()["seal"]
    table, count = corrections.export("volumes", tmp_path / "new")
    assert count == 1
    _, line = table.read_text().splitlines()
    name, _, label = line.split(",")
    assert name == second["case"]
    written = nibabel.load(tmp_path / "new" / label)
    np.testing.assert_array_equal(np.asanyarray(written.dataobj), drawn)
    assert "'=SUM(A1)" in (tmp_path / "new" / "reviews.csv").read_text()
    record = json.loads(
        next(served_home.glob(f"working/corrections/volumes/{name}/v{second['version']}/*.json")).read_text()
    )
    assert record["verdict"] == "corrected"


def test_a_mask_of_another_shape_is_refused(server, volume):
    mask = nibabel.Nifti1Image(np.zeros((4, 4, 4), np.uint8), np.eye(4)).to_bytes()
    answer = _review(server, volume, "corrected", model="volumes", mask=mask)
    assert answer.status_code == 422
    assert "shape" in answer.json()["detail"]


def test_an_unknown_label_is_refused(server, volume):
    mask = nibabel.Nifti1Image(np.full((32, 28, 20), 9, np.uint8), np.eye(4)).to_bytes()
    answer = _review(server, volume, "corrected", model="volumes", mask=mask)
    assert answer.status_code == 422
    assert "its values are 0 ..." in answer.json()["detail"]


@pytest.mark.parametrize(
    ("mask", "status"), [(b"\x89PNG\r\n\x1a\n damaged", 422), (b"\0" * 128 + b"DICM" + b"\0" * 64, 415)]
)
def test_a_mask_that_is_none_is_refused(server, volume, mask, status):
    answer = _review(server, volume, "corrected", model="volumes", mask=mask)
    assert answer.status_code == status, answer.text
    assert "mask" in answer.json()["detail"]


def test_a_review_of_another_decision_than_the_one_that_answers_is_not_kept(server, volume):
    answer = _review(server, volume, "accepted", model="volumes", seal="0" * 64)
    assert answer.status_code == 409
    assert "took over since" in answer.json()["detail"]


def test_a_mask_that_claims_to_be_huge_is_refused_before_it_is_read(server, volume):
    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.uint8)
    header.set_data_shape((30_000, 30_000, 2))
    header["vox_offset"] = 352
    mask = gzip.compress(header.binaryblock + bytes(1 << 20))
    answer = _review(server, volume, "corrected", model="volumes", mask=mask)
    assert answer.status_code == 422
    assert "the mask has shape (30000, 30000, 2)" in answer.json()["detail"]


def _folder(served_home, saved):
    return served_home / "working" / "corrections" / saved["decision"] / saved["case"] / f"v{saved['version']}"


@pytest.mark.parametrize("verdict", ["accepted", "rejected"])
@pytest.mark.parametrize("model", ["labels", "heads"])  # a classifier, and masks whose classes overlap
def test_what_has_no_label_a_voxel_gets_a_verdict(server, served_home, picture, model, verdict):
    answer = _review(server, picture, verdict, model=model, comment="seen")
    assert answer.status_code == 201, answer.text
    saved = answer.json()
    asked = httpx.post(f"{server.url}/v1/predict", files={"file": picture}, params={"model": model}, timeout=60).json()
    assert (saved["verdict"], saved["comment"], saved["seal"]) == (verdict, "seen", asked["seal"])
    assert saved["prediction"] == asked["probabilities"]
    assert sorted(path.name for path in _folder(served_home, saved).iterdir()) == ["correction.json", "image.png"]


def test_reviews_without_masks_are_exported_as_a_table(server, served_home, picture, tmp_path, monkeypatch):
    monkeypatch.setenv("HELDOUT_HOME", str(served_home))
    assert _review(server, picture, "accepted", model="labels", comment="yes").status_code == 201
    table, _ = corrections.export("labels", tmp_path / "new")
    assert table.name == "reviews.csv"
    [row] = csv.DictReader(table.read_text().splitlines())
    assert (row["verdict"], row["comment"]) == ("accepted", "yes")
    assert not (tmp_path / "new" / "cases.csv").exists()


def test_a_verdict_on_dicom_files_keeps_their_hash_alone(server, served_home):
    def packed(order, name):
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as archive:
            for number, path in enumerate(order):
                archive.writestr(f"{name}{number}", path.read_bytes())
        return content.getvalue()

    series = ct_files()
    saved = _review(server, packed(series, "DoeJane"), "accepted", model="volumes").json()
    again = _review(server, packed(series[::-1], "b"), "rejected", model="volumes").json()
    assert (again["case"], again["version"]) == (saved["case"], saved["version"] + 1)  # the same files are one case
    assert (saved["image"], saved["mask"]) == (None, None)
    assert [path.name for path in _folder(served_home, saved).iterdir()] == ["correction.json"]
    assert "Doe" not in json.dumps(saved)


def test_a_mask_of_dicom_files_is_not_kept(server):
    mask = nibabel.Nifti1Image(np.zeros((4, 4, 4), np.uint8), np.eye(4)).to_bytes()
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for path in ct_files():
            archive.writestr(path.name, path.read_bytes())
    answer = _review(server, content.getvalue(), "corrected", model="volumes", mask=mask)
    assert answer.status_code == 415
    assert "name the patient" in answer.json()["detail"]


@pytest.mark.parametrize(("model", "text"), [("heads", "overlap"), ("labels", "makes no masks: ask /classify")])
def test_what_has_no_label_a_voxel_cannot_be_corrected(server, picture, model, text):
    mask = cv2.imencode(".png", np.zeros((32, 32), np.uint8))[1].tobytes()
    answer = _review(server, picture, "corrected", model=model, mask=mask)
    assert answer.status_code == 409
    assert text in answer.json()["detail"]


@pytest.mark.parametrize(
    ("verdict", "mask", "text"),
    [
        ("fine", None, "verdict is one of"),
        ("corrected", None, "the verdict is corrected"),
        ("accepted", b"x", "only there"),
    ],
)
def test_a_form_that_does_not_fit_is_refused(server, picture, verdict, mask, text):
    answer = _review(server, picture, verdict, model="volumes", mask=mask)
    assert answer.status_code == 422
    assert text in answer.json()["detail"]


def test_nothing_to_export_says_what_to_do(home, tmp_path):
    with pytest.raises(UserError, match="serve frac1"):
        corrections.export("frac1", tmp_path / "new")
