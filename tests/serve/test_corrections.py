"""Reviews are kept in versions and become a dataset."""

from __future__ import annotations

import gzip
import json

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


def test_a_dicom_file_is_not_kept(server):
    image = ct_files()[0].read_bytes()
    answer = _review(server, image, "accepted", model="heads")
    assert answer.status_code == 415
    assert "name the patient" in answer.json()["detail"]


def test_classes_that_overlap_cannot_be_corrected(server, picture):
    mask = cv2.imencode(".png", np.zeros((32, 32), np.uint8))[1].tobytes()
    answer = _review(server, picture, "corrected", model="heads", mask=mask)
    assert answer.status_code == 409


def test_nothing_to_export_says_what_to_do(home, tmp_path):
    with pytest.raises(UserError, match="serve frac1"):
        corrections.export("frac1", tmp_path / "new")
