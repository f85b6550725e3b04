"""DICOM segmentations, read back by highdicom: every pixel of a source's frame has the mask's label."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from heldout.data.readers import open_series
from heldout.deliver.dicom_seg import segmentation_file
from heldout.errors import UserError
from tests.data.dicom_toy import ct_files, enhanced, voxels

pytestmark = pytest.mark.extras
highdicom = pytest.importorskip("highdicom", reason="the extra dicom is not installed")


@pytest.fixture(scope="module")
def series(tmp_path_factory) -> Path:
    """A folder with that CT."""
    folder = tmp_path_factory.mktemp("series")
    for number, path in enumerate(ct_files()):
        (folder / f"{number}.dcm").write_bytes(path.read_bytes())
    return folder


def write(mask, series, affine, classes=("bone", "air")):
    return segmentation_file(
        "case", mask, classes, affine=affine, source=str(series), root=Path("/"), decision="d", seal="0" * 64
    )


def hounsfield(path):
    import pydicom

    one = pydicom.dcmread(path)
    return one, one.pixel_array * float(one.RescaleSlope) + float(one.RescaleIntercept)


@pytest.mark.parametrize("overlapping", [False, True])
def test_every_frame_has_the_mask_of_its_own_pixels(series, overlapping):
    image = open_series([series])
    limit = float(np.median(image.array))
    dense, light = image.array[0] > limit, image.array[0] <= limit
    assert 0 < dense.mean() < 1
    mask = np.stack([dense, light]) if overlapping else np.where(dense, 1, 2)[None]
    name, content = write(mask.astype(np.uint8), series, image.affine)
    assert name == "case.dcm"
    found = highdicom.seg.segread(io.BytesIO(content))
    assert [one.SegmentLabel for one in found.SegmentSequence] == ["bone", "air"]
    for path in series.iterdir():
        source, values = hounsfield(path)
        pixels = found.get_pixels_by_source_instance([source.SOPInstanceUID])[0]
        np.testing.assert_array_equal(pixels[..., 0], values > limit)
        np.testing.assert_array_equal(pixels[..., 1], values <= limit)


def test_the_same_mask_gives_the_same_bytes_and_names_the_patient_of_its_source(series):
    image = open_series([series])
    mask = (image.array > np.median(image.array)).astype(np.uint8)
    first, second = (write(mask, series, image.affine, ("bone",))[1] for _ in range(2))
    assert first == second
    found, (source, _) = highdicom.seg.segread(io.BytesIO(first)), hounsfield(next(series.iterdir()))
    assert found.PatientID == source.PatientID
    assert found.FrameOfReferenceUID == source.FrameOfReferenceUID
    assert found.StudyInstanceUID == source.StudyInstanceUID
    other = write(1 - mask, series, image.affine, ("bone",))[1]
    assert highdicom.seg.segread(io.BytesIO(other)).SOPInstanceUID != found.SOPInstanceUID


def test_an_empty_mask_is_a_file_too(series):
    image = open_series([series])
    content = write(np.zeros_like(image.array, np.uint8), series, image.affine, ("bone",))[1]
    assert not highdicom.seg.segread(io.BytesIO(content)).pixel_array.any()


@pytest.mark.parametrize("shared", [True, False])
def test_frames_of_one_file_have_the_mask_of_their_own_pixels(tmp_path, shared):
    stored = voxels()
    frames = enhanced(stored, [1] * 5, [0, 2, 4, 6, 8])
    frames.FrameOfReferenceUID = "1.2.4"
    if not shared:  # as some makers write it
        groups = frames.SharedFunctionalGroupsSequence[0]
        for frame in frames.PerFrameFunctionalGroupsSequence:
            frame.PixelMeasuresSequence = groups.PixelMeasuresSequence
            frame.PlaneOrientationSequence = groups.PlaneOrientationSequence
        del frames.SharedFunctionalGroupsSequence
    folder = tmp_path / "series"
    folder.mkdir()
    frames.save_as(folder / "frames.dcm", enforce_file_format=True)
    image = open_series([folder])
    mask = (image.array > 2000).astype(np.uint8)
    found = highdicom.seg.segread(io.BytesIO(write(mask, folder, image.affine, ("bright",))[1]))
    pixels = found.get_pixels_by_source_frame(
        frames.SOPInstanceUID, [1, 2, 3, 4, 5], ignore_spatial_locations=True, assert_missing_frames_are_empty=True
    )
    np.testing.assert_array_equal(pixels[..., 0], stored > 2000)


def test_two_files_of_many_frames_are_refused(tmp_path):
    folder = tmp_path / "series"
    folder.mkdir()
    for number, steps in enumerate(([0, 2, 4, 6, 8], [10, 12, 14, 16, 18])):
        frames = enhanced(voxels(), [1] * 5, steps)
        frames.FrameOfReferenceUID, frames.InstanceNumber = "1.2.4", number + 1
        frames.SOPInstanceUID = frames.file_meta.MediaStorageSOPInstanceUID = f"1.2.5.{number}"
        frames.save_as(folder / f"{number}.dcm", enforce_file_format=True)
    image = open_series([folder])
    assert image.array.shape[-1] == 10
    with pytest.raises(UserError, match=r"series has frames in several multi-frame files, .*: leave out --format"):
        write(np.ones_like(image.array, np.uint8), folder, image.affine, ("bright",))


def test_frames_without_a_frame_of_reference_are_told(tmp_path):
    folder = tmp_path / "series"
    folder.mkdir()
    enhanced(voxels(), [1] * 5, [0, 2, 4, 6, 8]).save_as(folder / "frames.dcm", enforce_file_format=True)
    image = open_series([folder])
    with pytest.raises(UserError, match=r"series cannot be the source .*Frame Of Reference UID.*: leave out --format"):
        write(np.ones_like(image.array, np.uint8), folder, image.affine, ("bright",))


def test_a_file_that_is_no_dicom_is_named(tmp_path):
    import nibabel

    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 4, 4), np.uint8), np.eye(4)), tmp_path / "scan.nii")
    with pytest.raises(UserError, match=r"scan\.nii is not a DICOM file"):
        write(np.zeros((1, 4, 4, 4), np.uint8), tmp_path / "scan.nii", np.eye(4))


def test_a_mask_off_the_frames_is_refused(series):
    image = open_series([series])
    moved = image.affine.copy()
    moved[0, 3] += 0.4 * np.linalg.norm(moved[:3, 0])
    with pytest.raises(UserError, match="no DICOM frame lies on the grid"):
        write(np.zeros_like(image.array, np.uint8), series, moved)
