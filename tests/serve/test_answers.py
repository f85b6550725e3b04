"""Answers of a real server: equal to `predict`, and saying who spoke."""

from __future__ import annotations

import base64
import csv
import gzip
import io
import re
import subprocess
import sys
import zipfile
from types import SimpleNamespace

import cv2
import httpx
import nibabel
import numpy as np
import pydicom
import pytest
from PIL import Image

from heldout.serve import slices
from heldout.serve.model import Served
from tests.data.dicom_toy import ct_files, plane
from tests.serve.conftest import REPOSITORY, as_array

pytestmark = pytest.mark.extras


def _post(server, path, files=None, **given):
    return httpx.post(f"{server.url}{path}", files=files, timeout=60, **given)


def predicted(served_home, tmp_path, name, file, content):
    """What the command `predict` says of a file: its row, and the content of its masks by name."""
    folder, output = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    (folder / file).write_bytes(content)
    words = [
        sys.executable,
        str((served_home if (served_home / "run.py").is_file() else REPOSITORY) / "run.py"),
        "predict",
        name,
        "--input",
        str(folder),
        "--output",
        str(output),
    ]
    environment = {"HELDOUT_HOME": str(served_home), "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"}
    subprocess.run(words, check=True, capture_output=True, env=environment)
    with open(output / "predictions.csv", newline="") as handle:
        [row] = csv.DictReader(handle)
    return row, {path.name: path.read_bytes() for path in output.iterdir() if path.name != "predictions.csv"}


@pytest.mark.parametrize(("name", "path"), [("labels", "/classify"), ("heads", "/segment"), ("heads", "/multitask")])
def test_a_picture_gets_the_bits_of_predict(server, served_home, tmp_path, picture, name, path):
    row, masks = predicted(served_home, tmp_path, name, "a.png", picture)
    found = _post(server, path, {"file": picture}, params={"model": name}).json()
    for label, value in found["probabilities"].items():
        assert f"{value:.6f}" == row[f"p_{label}"]
    assert len(masks) == (2 if name == "heads" else 0)
    for file, content in masks.items():
        mine = base64.b64decode(found["files"][file.replace("a_", "mask_")])
        np.testing.assert_array_equal(as_array(mine), as_array(content))


def test_a_volume_gets_the_bits_of_predict_on_its_own_grid(server, served_home, tmp_path, volume):
    row, masks = predicted(served_home, tmp_path, "volumes", "a.nii.gz", volume)
    answer = _post(server, "/v1/predict", {"file": volume}, params={"return_binary": "true"})
    assert answer.status_code == 200, answer.text
    if len(masks) == 1:
        contents = {"mask.nii.gz": answer.content}
    else:
        archive = zipfile.ZipFile(io.BytesIO(answer.content))
        contents = {name: archive.read(name) for name in archive.namelist()}
    for file, content in masks.items():
        mine = nibabel.Nifti1Image.from_bytes(gzip.decompress(contents[file.replace("a", "mask", 1)]))
        theirs = nibabel.Nifti1Image.from_bytes(gzip.decompress(content))
        np.testing.assert_array_equal(np.asanyarray(mine.dataobj), np.asanyarray(theirs.dataobj))
        np.testing.assert_array_equal(mine.affine, theirs.affine)
    found = _post(server, "/v1/predict", {"file": volume}).json()
    assert {f"p_{label}": f"{value:.6f}" for label, value in found["probabilities"].items()}.items() <= row.items()
    assert found["spacing_mm"] == [1, 1, 2]
    for label, count in found["areas"].items():
        assert found["volumes_ml"][label] == pytest.approx(count * 2 / 1000)


def test_an_answer_says_which_seal_spoke(server, picture):
    answer = _post(server, "/segment", {"file": picture}, params={"files": "false"})
    found, info = answer.json(), httpx.get(f"{server.url}/model/info", params={"model": "heads"}).json()
    assert (found["decision"], found["seal"], found["sealed"]) == ("heads", info["seal"], True)
    assert found["request_id"] == answer.headers["x-request-id"]
    assert info["classes"] == ["small", "large"]
    assert info["two_heads"]
    assert info["members"][0]["networks"] == 2


def test_pixels_as_lists_are_the_png(server, picture):
    body = {"image": as_array(picture).tolist()}
    sent = _post(server, "/classify", json=body, params={"model": "labels"}).json()
    filed = _post(server, "/classify", {"file": picture}, params={"model": "labels"}).json()
    assert sent["probabilities"] == filed["probabilities"]
    assert {"prediction", "confidence", "calibrated_confidence"} <= sent.keys()


def test_grad_cam_is_on_the_grid_of_the_picture(server, picture):
    found = _post(server, "/classify/gradcam", {"file": picture}, params={"target": "large"}).json()
    heat = as_array(base64.b64decode(found["heatmap"]))
    assert heat.shape == (32, 32)
    assert found["explained"] == "large"


def test_grad_cam_of_a_volume_is_on_its_grid(server, volume):
    found = _post(server, "/classify/gradcam", {"file": volume}, params={"model": "scans"}).json()
    heat = nibabel.Nifti1Image.from_bytes(gzip.decompress(base64.b64decode(found["heatmap"])))
    own = nibabel.Nifti1Image.from_bytes(gzip.decompress(volume))
    assert heat.shape == own.shape
    np.testing.assert_array_equal(heat.affine, own.affine)
    assert found["explained"] == max(found["probabilities"], key=found["probabilities"].get)


def test_uncertainty_by_flips_and_dropout(server, picture):
    body = {"image": as_array(picture).tolist(), "n_mc_samples": 4, "use_tta": True}
    found = _post(server, "/segment/uncertainty", json=body).json()
    assert found["answers"] >= 4
    assert 0 <= found["mean_dice"] <= 1
    assert found["entropy"] == pytest.approx(found["epistemic_uncertainty"] + found["aleatoric_uncertainty"], abs=1e-9)
    assert {"entropy", "epistemic_uncertainty", "aleatoric_uncertainty"} <= found.keys()
    assert "epistemic_uncertainty.png" in found["files"]


def test_a_batch_answers_the_good_and_names_the_bad(server, picture):
    files = [("files", picture), ("files", b"no image"), ("files", picture)]
    found = _post(server, "/segment/batch", files, params={"files": "false"}).json()
    alone = _post(server, "/segment", {"file": picture}, params={"files": "false"}).json()
    assert (found["count"], found["failed"]) == (3, 1)
    assert "files[1] is not" in found["results"][1]["error"]
    for one in (found["results"][0], found["results"][2]):
        for label, value in one["probabilities"].items():
            assert value == pytest.approx(alone["probabilities"][label], abs=1e-6)
        assert one["areas"] == alone["areas"]


def test_every_part_of_a_batch_says_who_spoke(server, picture):
    answer = _post(server, "/segment/batch", [("files", picture), ("files", b"no image")], params={"files": "false"})
    found, info = answer.json(), httpx.get(f"{server.url}/model/info", params={"model": "heads"}).json()
    for one in (found, *found["results"]):
        assert (one["decision"], one["seal"], one["sealed"]) == ("heads", info["seal"], True)
        assert one["request_id"] == answer.headers["x-request-id"]
    assert found["warnings"] == ["1 of 2 files have no answer"]
    assert found["in_distribution"] is found["results"][0]["in_distribution"]
    assert found["took_ms"] > 0


def test_a_file_of_another_kind_in_a_batch_is_told_what_is_read(server, picture, volume):
    files = [("files", volume), ("files", picture)]
    options = {"model": "volumes", "files": "false"}
    first, second = _post(server, "/segment/batch", files, params=options).json()["results"]
    assert first["areas"]
    assert second["status"] == 409
    assert "volumes reads a volume" in second["error"]


def test_thumbnails_are_small_pictures_of_what_was_sent(server, picture, volume):
    options = {"thumbnail": "true", "files": "false"}
    flat = _post(server, "/segment", {"file": picture}, params=options).json()
    np.testing.assert_array_equal(as_array(base64.b64decode(flat["thumbnail"])), as_array(picture))
    found = _post(server, "/segment/batch", {"files": volume}, params=options | {"model": "volumes"}).json()
    shown = as_array(base64.b64decode(found["results"][0]["thumbnail"]))
    assert shown.shape == (28, 32)  # rows from front to back, columns from the patient's right to the left
    # the ball lies at 12 ... 20 of 32 along an axis that runs to the right, and at 10 ... 18 of 28 to the front
    assert shown[28 - 18 : 28 - 10, 12:20].mean() > 1.5 * np.median(shown)


def test_a_question_about_a_known_image_is_no_further_input(server, picture):
    def inputs():
        return httpx.get(f"{server.url}/v1/drift", params={"model": "heads"}).json()["inputs"]

    before = inputs()
    for path, options in (
        ("/segment", {}),
        ("/segment/uncertainty", {"n_samples": 2}),
        ("/classify/gradcam", {"target": "large"}),
    ):
        assert _post(server, path, {"file": picture}, params=options | {"model": "heads"}).status_code == 200
    assert inputs() == before + 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshhold": "0.5"}, "there is no option 'threshhold'; did you mean 'threshold'?"),
        ({"zzz": "1"}, "there is no option 'zzz': see /docs"),
        ({"threshold": "nan"}, "threshold does not fit"),
        ({"slice_mm": "inf"}, "slice_mm does not fit"),
    ],
)
def test_an_option_that_is_none_is_refused(server, picture, options, message):
    answer = _post(server, "/segment", {"file": picture}, params=options)
    assert answer.status_code == 422
    assert message in answer.json()["detail"]


def test_a_mask_as_a_file_comes_whatever_files_says(server, volume):
    options = {"model": "volumes", "return_binary": "true", "files": "false"}
    assert len(_post(server, "/v1/predict", {"file": volume}, params=options).content) > 100


def test_more_answers_than_fit_into_memory_are_refused(server):
    large = cv2.imencode(".png", np.full((3000, 3000), 90, np.uint8))[1].tobytes()
    options = {"model": "heads", "n_samples": 200}
    answer = _post(server, "/segment/uncertainty", {"file": large}, params=options)
    assert answer.status_code == 413, answer.text
    assert "n_samples = 200 is too many for 9000000 voxels: ask for" in answer.json()["detail"]


def test_examples_in_the_documentation_are_answers(server):
    from heldout.serve import answers

    described = httpx.get(f"{server.url}/openapi.json").json()["paths"]
    models = {
        "/classify": answers.Classification,
        "/classify/gradcam": answers.GradCam,
        "/classify/batch": answers.Batch,
        "/segment": answers.Segmentation,
        "/segment/uncertainty": answers.Uncertain,
        "/segment/batch": answers.Batch,
        "/multitask": answers.Segmentation,
        "/patient/analyze_stack": answers.Stack,
        "/v1/predict": answers.Segmentation,
    }
    for path, model in models.items():
        example = described[path]["post"]["responses"]["200"]["content"]["application/json"]["example"]
        assert model.model_validate(example).model_dump(exclude_unset=True, mode="json") == example


def test_a_dicom_image_is_classified_alone_and_in_an_archive(server, served_home, tmp_path):
    pixels = np.random.default_rng(2).integers(0, 4000, (32, 32)).astype(np.uint16)
    plane(pixels, Modality="DX").save_as(tmp_path / "a.dcm", enforce_file_format=True)
    content, packed = (tmp_path / "a.dcm").read_bytes(), io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("case/a", content)
    row, _ = predicted(served_home, tmp_path, "labels", "a.dcm", content)
    for sent in (content, packed.getvalue()):
        found = _post(server, "/classify", {"file": sent}, params={"model": "labels", "preview": "true"}).json()
        for label, value in found["probabilities"].items():
            assert f"{value:.6f}" == row[f"p_{label}"]
        assert as_array(base64.b64decode(found["preview"])).shape == (32, 32)
    refused = _post(server, "/segment", {"file": content}, params={"model": "volumes"})
    assert refused.status_code == 409
    assert "reads a volume" in refused.json()["detail"]


@pytest.mark.parametrize("path", ["/segment", "/patient/analyze_stack"])
def test_an_archive_of_two_series_is_refused(server, path):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for number, file in enumerate(ct_files()):
            archive.writestr(f"a{number}", file.read_bytes())
            other = pydicom.dcmread(file)
            other.SeriesInstanceUID, other.SOPInstanceUID = "1.2.4", f"1.2.4.{number}"
            other.file_meta.MediaStorageSOPInstanceUID = other.SOPInstanceUID
            content = io.BytesIO()
            other.save_as(content, enforce_file_format=True)
            archive.writestr(f"b{number}", content.getvalue())
    answer = _post(server, path, {"file": packed.getvalue()}, params={"model": "volumes"})
    assert answer.status_code in (409, 422)
    assert "series" in answer.json()["detail"]


@pytest.mark.parametrize("path", ["/", "/healthz", "/health", "/readyz"])
def test_who_watches_may_ask_for_the_head_alone(server, path):
    answer = httpx.head(f"{server.url}{path}")
    assert (answer.status_code, answer.content) == (200, b"")


def test_dicom_files_of_one_series_are_a_patient(server):
    files = [("files", path.read_bytes()) for path in ct_files()]
    together = _post(server, "/patient/analyze_stack", files).json()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for number, (_, content) in enumerate(files):
            archive.writestr(str(number), content)
    zipped = _post(server, "/patient/analyze_stack", {"file": packed.getvalue()}).json()
    assert together["decision"] == "volumes"
    assert together["slices"] == len(files)
    for name in ("areas", "volumes_ml", "probabilities"):
        assert together[name] == zipped[name]


def test_a_batch_larger_than_the_queue_is_answered(server, picture):
    found = _post(server, "/classify/batch", [("files", picture)] * 100, params={"model": "labels"}).json()
    assert (found["count"], found["failed"]) == (100, 0)


def test_a_threshold_of_the_request_is_said(server, picture):
    high = _post(server, "/segment", {"file": picture}, params={"threshold": 1, "files": "false"}).json()
    low = _post(server, "/segment", {"file": picture}, params={"threshold": 0.01, "files": "false"}).json()
    assert sum(low["areas"].values()) >= sum(high["areas"].values())
    assert low["warnings"][-1] == "the mask is cut at 0.01, not as it was sealed"
    sealed = _post(server, "/segment", {"file": picture}, params={"files": "false"}).json()
    assert (low["threshold"], sealed["threshold"]) == (0.01, None)


def test_a_patient_as_volume_has_a_curve_along_the_depth(server, volume):
    found = _post(server, "/patient/analyze_stack", {"file": volume}).json()
    assert found["decision"] == "volumes"
    assert found["in_distribution"] in (True, False)
    assert found["slices"] == 20
    assert all(len(curve) == 20 for curve in found["areas"].values())
    for label, curve in found["areas"].items():
        assert found["volumes_ml"][label] == pytest.approx(sum(curve) * 2 / 1000)


def test_a_patient_as_pictures_has_a_volume_where_their_size_is_given(server, picture):
    files = [("files", picture)] * 3
    found = _post(server, "/patient/analyze_stack", files).json()
    assert found["slices"] == 3
    assert found["volumes_ml"] is None
    assert "pixel_mm" in found["warnings"][0]
    sized = _post(server, "/patient/analyze_stack", files, params={"pixel_mm": 0.5, "slice_mm": 4}).json()
    for label, curve in sized["areas"].items():
        assert sized["volumes_ml"][label] == pytest.approx(sum(curve) / 1000)


def test_a_volume_is_cut_into_slices_for_a_decision_on_pictures(server, volume):
    found = _post(server, "/patient/analyze_stack", {"file": volume}, params={"model": "labels"}).json()
    assert found["decision"] == "labels"
    assert found["slices"] == 20
    assert all(len(curve) == 20 for curve in found["slice_probabilities"].values())


def test_a_patient_as_pictures_has_the_masks_of_its_slices(server, served_home):
    pictures = [path.read_bytes() for path in sorted(served_home.glob("input/served/images/*.png"))[:3]]
    deep = io.BytesIO()
    Image.fromarray(as_array(pictures[2]).astype(np.uint16) * 256).save(deep, "PNG")
    files = [("files", one) for one in (*pictures[:2], deep.getvalue())]
    found = _post(server, "/patient/analyze_stack", files, params={"model": "heads", "preview": "true"}).json()
    for number, (_, content) in enumerate(files, start=1):
        alone = _post(server, "/segment", {"file": content}, params={"model": "heads"}).json()["files"]
        for label in found["areas"]:
            assert found["files"][f"mask{number:04d}_{label}.png"] == alone[f"mask_{label}.png"]
    assert sum(map(sum, found["areas"].values())) > 0
    assert [name for name in found["files"] if "preview" in name] == ["preview0003.png"]  # 16 bits, which are black
    plain = _post(server, "/patient/analyze_stack", files, params={"model": "heads"}).json()
    assert "files" not in plain


def test_a_volume_that_is_cut_into_slices_has_a_mask_on_its_own_grid(server, volume):
    options = {"model": "heads", "preview": "true"}
    found = _post(server, "/patient/analyze_stack", {"file": volume}, params=options).json()
    given = nibabel.Nifti1Image.from_bytes(gzip.decompress(volume))
    for label, curve in found["areas"].items():
        content = gzip.decompress(base64.b64decode(found["files"][f"mask_{label}.nii.gz"]))
        mask = nibabel.Nifti1Image.from_bytes(content)
        assert (mask.shape, mask.affine.tolist()) == (given.shape, given.affine.tolist())
        assert np.asarray(mask.dataobj).sum(axis=(0, 1)).tolist() == curve


@pytest.mark.parametrize("turned", [(0, 1, 2, 1, 1, 1), (2, 0, 1, -1, 1, -1), (1, 2, 0, 1, -1, -1)])
def test_masks_of_slices_find_back_into_their_volume(tmp_path, turned):
    affine = np.zeros((4, 4))
    affine[3, 3] = 1
    for axis, (to, sign) in enumerate(zip(turned[:3], turned[3:], strict=True)):
        affine[to, axis] = sign * (axis + 1)
    array = np.random.default_rng(3).integers(0, 255, (5, 6, 7)).astype(np.uint8)
    nibabel.Nifti1Image(array, affine).to_filename(tmp_path / "a.nii.gz")
    served = SimpleNamespace(config=SimpleNamespace(source_options={}))
    cases, whole, _ = Served.slices_of(served, tmp_path / "a.nii.gz")
    assert (slices._in_volume([case.image.array for case in cases], whole)[0] == array).all()


def test_a_job_ends_with_the_answer_of_predict(server, volume):
    started = _post(server, "/v1/jobs", {"file": volume})
    assert started.status_code == 202
    with httpx.stream("GET", f"{server.url}{started.json()['links']['events']}", timeout=60) as events:
        lines = [line for line in events.iter_lines() if line.startswith("data:")]
    assert '"done"' in lines[-1]
    result = httpx.get(f"{server.url}{started.json()['links']['result']}").json()
    assert result["probabilities"] == _post(server, "/v1/predict", {"file": volume}).json()["probabilities"]
    job = f"{server.url}/v1/jobs/{started.json()['id']}"
    assert httpx.delete(job).status_code == 204
    assert httpx.get(job).status_code == 404


@pytest.mark.parametrize(
    ("path", "model", "names"),
    [
        ("/segment", "labels", "ask /classify"),
        ("/classify", "volumes", "ask /segment"),
        ("/multitask", "labels", "ask /classify"),
        ("/segment", "volumes", "reads a volume"),
    ],
)
def test_an_endpoint_that_does_not_fit_names_the_one_that_does(server, picture, path, model, names):
    answer = _post(server, path, {"file": picture}, params={"model": model})
    assert answer.status_code == 409
    assert names in answer.json()["detail"]


def test_an_input_unlike_the_training_images_is_said(server, picture):
    usual = _post(server, "/classify", {"file": picture}, params={"model": "labels"}).json()
    assert usual["in_distribution"] is True
    inverted = {"image": (255 - as_array(picture)).tolist(), "model": "labels"}
    unusual = _post(server, "/classify", json=inverted).json()
    assert unusual["in_distribution"] is False
    assert "of the training images" in unusual["warnings"][0]
    drift = httpx.get(f"{server.url}/v1/drift", params={"model": "labels"}).json()
    assert 0 < drift["unusual"] < drift["inputs"]
    metrics = httpx.get(f"{server.url}/metrics").text
    assert 'heldout_out_of_distribution_total{decision="labels"}' in metrics
    share = re.search(r'heldout_recent_out_of_distribution{decision="labels"} ([\d.]+)', metrics)
    assert float(share[1]) == pytest.approx(drift["unusual"] / drift["inputs"])


def test_a_dicom_series_gets_the_file_of_predict_on_its_own_frames(server, served_home, tmp_path):
    highdicom = pytest.importorskip("highdicom")
    series = ct_files()
    folder, packed = tmp_path / "in" / "scan", io.BytesIO()
    folder.mkdir(parents=True)
    with zipfile.ZipFile(packed, "w") as archive:
        for path in series:
            (folder / f"{path.name}.dcm").write_bytes(path.read_bytes())
            archive.writestr(f"some/name/{path.name}", path.read_bytes())
    options = {"model": "volumes", "return_binary": "true"}
    answer = _post(server, "/v1/predict", {"file": packed.getvalue()}, params=options | {"format": "dicomseg"})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/dicom"
    words = [sys.executable, str(REPOSITORY / "run.py"), "predict", "volumes", "--format", "dicomseg"]
    environment = {"HELDOUT_HOME": str(served_home), "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"}
    words += ["--input", str(folder.parent), "--output", str(tmp_path / "out")]
    subprocess.run(words, check=True, capture_output=True, env=environment)
    [written] = (tmp_path / "out").glob("*.dcm")
    assert written.read_bytes() == answer.content
    mask = _post(server, "/v1/predict", {"file": packed.getvalue()}, params=options).content
    volume = np.asanyarray(nibabel.Nifti1Image.from_bytes(gzip.decompress(mask)).dataobj)
    found = highdicom.seg.segread(io.BytesIO(answer.content))
    counts = [int((volume == k + 1).sum()) for k in range(len(found.SegmentSequence))]
    frames = found.get_pixels_by_source_instance([pydicom.dcmread(path).SOPInstanceUID for path in series])
    assert [int(frames[..., k].sum()) for k in range(len(counts))] == counts


def test_a_segmentation_in_dicom_needs_dicom(server, volume):
    answer = _post(server, "/v1/predict", {"file": volume}, params={"model": "volumes", "format": "dicomseg"})
    assert answer.status_code == 422
    assert "is not a DICOM file" in answer.json()["detail"]
