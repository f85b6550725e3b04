"""Every folder of the public DICOM collection: the volume that must come out, or the complaint."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from heldout.data.image import BadFile
from heldout.data.readers import dicom

pytestmark = pytest.mark.realdata
GENERIC = "dicom2nifti/generic"
ENCODINGS = [f"{GENERIC}/compressed{kind}/001" for kind in ("", "_j2k", "_jpeg", "_jpegls", "_rle")]


def place(name):
    return Path(os.environ["HELDOUT_DATA"]) / "dicom" / name


def digest(volume):
    """Of the values, whatever integer type holds them."""
    array = volume.image.array
    array = array.astype(np.float32) if array.dtype.kind == "f" else array.astype(np.int32)
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:12]


VOLUMES = {
    "11_HCropVolume": ((1, 34, 50, 40), (1.0, 1.0, 1.0), "LPS", "raw", 2.0, 194.0, "ddd12203f671", ()),
    "13_HCropVolume": ((1, 35, 51, 32), (1.0, 1.0, 1.0), "LPS", "raw", 2.0, 154.0, "8d3729629722", ()),
    "14_HCropVolume": ((1, 36, 48, 35), (1.0, 1.0, 1.0), "LPS", "raw", 0.0, 5076.0, "649e0dd17cc6", ()),
    "dicom2nifti/failing/gantrytilting/001": (
        (1, 512, 512, 4),
        (0.418, 0.418, 5.0),
        "LPS",
        "HU",
        -1024.0,
        -770.0,
        "18d4c03c6892",
        ("tilted by",),
    ),
    "dicom2nifti/failing/slicecount/001": (
        (1, 256, 256, 2),
        (1.0, 1.0, 1.0),
        "PIR",
        "raw",
        0.0,
        254.0,
        "b05594e25f09",
        ("slices only",),
    ),
    "dicom2nifti/generic/anatomical/001": (
        (1, 256, 256, 4),
        (1.0, 1.0, 1.0),
        "PIR",
        "raw",
        0.0,
        254.0,
        "a35d5da18c5e",
        (),
    ),
    "dicom2nifti/generic/anatomical/001_implicit": (
        (1, 256, 256, 4),
        (1.0, 1.0, 1.0),
        "PIR",
        "raw",
        0.0,
        254.0,
        "55bc18fd1f46",
        (),
    ),
    "dicom2nifti/generic/anatomical/002_non_isotropic": (
        (1, 64, 28, 4),
        (6.4, 4.0, 0.5),
        "LPS",
        "raw",
        33.4438,
        96.468,
        "",
        ("differs between",),
    ),
    "dicom2nifti/generic/compressed/001": (
        (1, 256, 256, 4),
        (1.0, 1.0, 1.0),
        "PIR",
        "raw",
        0.0,
        254.0,
        "442003a44a9b",
        (),
    ),
    "dicom2nifti/generic/compressed_j2k/001": (
        (1, 256, 256, 4),
        (1.0, 1.0, 1.0),
        "PIR",
        "raw",
        0.0,
        254.0,
        "442003a44a9b",
        (),
    ),
    "dicom2nifti/generic/compressed_jpeg/001": (
        (1, 256, 256, 4),
        (1.0, 1.0, 1.0),
        "PIR",
        "raw",
        0.0,
        254.0,
        "442003a44a9b",
        (),
    ),
    "dicom2nifti/generic/compressed_jpegls/001": (
        (1, 256, 256, 4),
        (1.0, 1.0, 1.0),
        "PIR",
        "raw",
        0.0,
        254.0,
        "442003a44a9b",
        (),
    ),
    "dicom2nifti/generic/compressed_rle/001": (
        (1, 256, 256, 4),
        (1.0, 1.0, 1.0),
        "PIR",
        "raw",
        0.0,
        254.0,
        "442003a44a9b",
        (),
    ),
    "dicom2nifti/generic/rgb/001": ((3, 52, 77, 4), (3.0, 3.0, 3.0), "LPS", "raw", 0.0, 255.0, "f1d73f57a46f", ()),
    "dicom2nifti/hyperfine/anatomical/001": (
        (1, 112, 138, 8),
        (1.59, 1.61, 5.0),
        "LPS",
        "raw",
        0.0,
        254.0,
        "46daa7ca8844",
        (),
    ),
    "dicom2nifti/philips_enhanced/anatomical/001": (
        (1, 256, 256, 8),
        (1.0, 1.0, 1.2),
        "PIR",
        "raw",
        0.0,
        1081.7485,
        "",
        (),
    ),
    "dicom2nifti/philips_enhanced/anatomical/001_implicit": (
        (1, 256, 256, 8),
        (0.9375, 0.9375, 1.0),
        "PIR",
        "raw",
        0.0,
        3707.5317,
        "",
        (),
    ),
    "dicom2nifti/siemens_multiframe/anatomical/001": (
        (1, 256, 256, 8),
        (0.9375, 0.9375, 0.9),
        "LPS",
        "raw",
        0.0,
        254.0,
        "396111f4d534",
        (),
    ),
    "mr_PGBM-003/11-T1post-18670": (
        (1, 280, 320, 22),
        (0.6875, 0.6875, 6.5),
        "LPS",
        "raw",
        0.0,
        2040.0,
        "935ee8f62929",
        (),
    ),
    "mr_PGBM-003/36468-FLAIRreg-58706": (
        (1, 280, 320, 22),
        (0.6875, 0.6875, 6.5),
        "LPS",
        "raw",
        0.0,
        1436.0,
        "1c1bafca75ee",
        (),
    ),
    "pylibjpeg_ct_mr_cr/693_J2KI.dcm": (
        (1, 512, 512, 1),
        (0.4785, 0.4785, 5.0),
        "LPS",
        "HU",
        -3995.0,
        1812.0,
        "",
        ("slice only",),
    ),
    "pylibjpeg_ct_mr_cr/693_J2KR.dcm": (
        (1, 512, 512, 1),
        (0.4785, 0.4785, 5.0),
        "LPS",
        "HU",
        -3024.0,
        1468.0,
        "8a10c42e7b18",
        ("slice only",),
    ),
    "pylibjpeg_ct_mr_cr/CT1_JLSN.dcm": (
        (1, 512, 512, 1),
        (0.6615, 0.6615, 5.0),
        "LPS",
        "HU",
        -3028.0,
        1254.0,
        "",
        ("slice only",),
    ),
    "pylibjpeg_ct_mr_cr/JPEG-lossy.dcm": (
        (1, 256, 1024, 1),
        (2.26, 2.26, 1.0),
        "",
        "raw",
        0.0,
        264.0,
        "",
        ("does not state its position", "slice only"),
    ),
    "pylibjpeg_ct_mr_cr/MR2_J2KI.dcm": (
        (1, 1024, 1024, 1),
        (0.1953, 0.1953, 6.0),
        "PIR",
        "raw",
        0.0001,
        2264.4683,
        "",
        ("slice only",),
    ),
    "pylibjpeg_ct_mr_cr/MR2_J2KR.dcm": (
        (1, 1024, 1024, 1),
        (0.1953, 0.1953, 6.0),
        "PIR",
        "raw",
        0.0001,
        2245.5977,
        "",
        ("slice only",),
    ),
    "pylibjpeg_ct_mr_cr/MR_small.dcm": (
        (1, 64, 64, 1),
        (0.3125, 0.3125, 0.8),
        "LPS",
        "raw",
        127.0,
        2145.0,
        "63e4236f55db",
        ("slice only",),
    ),
    "pylibjpeg_ct_mr_cr/MR_small_RLE.dcm": (
        (1, 64, 64, 1),
        (0.3125, 0.3125, 0.8),
        "LPS",
        "raw",
        127.0,
        2145.0,
        "63e4236f55db",
        ("slice only",),
    ),
    "pylibjpeg_ct_mr_cr/MR_small_jp2klossless.dcm": (
        (1, 64, 64, 1),
        (0.3125, 0.3125, 0.8),
        "LPS",
        "raw",
        127.0,
        2145.0,
        "63e4236f55db",
        ("slice only",),
    ),
    "pylibjpeg_ct_mr_cr/MR_small_jpeg_ls_lossless.dcm": (
        (1, 64, 64, 1),
        (0.3125, 0.3125, 0.8),
        "LPS",
        "raw",
        127.0,
        2145.0,
        "63e4236f55db",
        ("slice only",),
    ),
    "pylibjpeg_ct_mr_cr/RG1_J2KI.dcm": (
        (1, 1841, 1955, 1),
        (1.0, 1.0, 1.0),
        "",
        "raw",
        6255.0,
        31964.0,
        "",
        ("does not state its position", "slice only", "MONOCHROME1"),
    ),
    "pylibjpeg_ct_mr_cr/RG3_J2KI.dcm": (
        (1, 1760, 1760, 1),
        (1.0, 1.0, 1.0),
        "",
        "raw",
        0.0,
        1023.0,
        "",
        ("does not state its position", "slice only", "MONOCHROME1"),
    ),
    "pylibjpeg_ct_mr_cr/RG3_J2KR.dcm": (
        (1, 1760, 1760, 1),
        (1.0, 1.0, 1.0),
        "",
        "raw",
        0.0,
        1023.0,
        "348cf3027712",
        ("does not state its position", "slice only", "MONOCHROME1"),
    ),
    "pylibjpeg_ct_mr_cr/emri_small_RLE.dcm": (
        (1, 64, 64, 10),
        (1.0, 1.0, 1.2),
        "",
        "raw",
        0.0,
        467.0,
        "4be047a43d53",
        ("does not state its position",),
    ),
    "pylibjpeg_ct_mr_cr/emri_small_jpeg_2k_lossless.dcm": (
        (1, 64, 64, 10),
        (1.0, 1.0, 1.2),
        "",
        "raw",
        0.0,
        467.0,
        "4be047a43d53",
        ("does not state its position",),
    ),
    "pylibjpeg_ct_mr_cr/emri_small_jpeg_ls_lossless.dcm": (
        (1, 64, 64, 10),
        (1.0, 1.0, 1.2),
        "",
        "raw",
        0.0,
        467.0,
        "4be047a43d53",
        ("does not state its position",),
    ),
}


@pytest.mark.parametrize("name", VOLUMES)
def test_volumes(name):
    shape, spacing, orientation, units, low, high, expected, notes = VOLUMES[name]
    volume = dicom.read_volume(place(name))
    array = volume.image.array
    assert (array.shape, volume.orientation, volume.units) == (shape, orientation, units)
    assert volume.spacing == pytest.approx(spacing, abs=1e-3)
    assert (float(array.min()), float(array.max())) == pytest.approx((low, high), abs=1e-3)
    if expected:
        assert digest(volume) == expected
    assert len(volume.notes) == len(notes), volume.notes
    for words in notes:
        assert any(words in note for note in volume.notes), (words, volume.notes)


COMPLAINTS = {
    "dicom2nifti/failing/notavolume/001": ("001.dcm and 3 more of 4 slices have different pixels", "(0020,0032)"),
    "dicom2nifti/failing/sliceincrement/001": ("missing or unevenly spaced", "5 mm x 2, 10 mm x 1", "(0020,0032)"),
    "dicom2nifti/failing/sliceincrement/002": ("missing or unevenly spaced", "0.75 mm x 2, 1.5 mm x 1"),
    "dicom2nifti/failing/sliceorientation/001": ("holds 2 volumes", "PIR", "LPS", "pick"),
    "head_ct_ge_tilt18": ("01.dcm", "missing or unevenly spaced", "4 mm x 13, 7 mm x 13, 1.08 mm x 1"),
    "philips_phantom_head_ct/S1000_scout": ("DIRFILE was skipped: it has no pixels", "I10 was skipped: it is a scout"),
    "dcm_qa_enh/Philips": ("holds 2 volumes", "(64, 64, 32)"),
    "dcm_qa_enh/Siemens/XA10": ("holds 4 volumes", "(64, 64, 6)"),
}


@pytest.mark.parametrize("name", COMPLAINTS)
def test_complaints(name):
    with pytest.raises(BadFile) as caught:
        dicom.read_volume(place(name))
    assert name in str(caught.value)
    for words in COMPLAINTS[name]:
        assert words in str(caught.value)


def test_no_folder_is_forgotten():
    folders = {path.parent for path in place("").rglob("*") if path.is_file()}
    known = {place(name) for name in (*VOLUMES, *COMPLAINTS)}
    assert all(folder in known or any(path in known for path in folder.iterdir()) for folder in folders)
    single = place("pylibjpeg_ct_mr_cr")
    assert set(single.iterdir()) <= known


def test_one_acquisition_in_five_encodings_has_identical_voxels():
    volumes = [dicom.read_volume(place(name)).image for name in ENCODINGS]
    assert len({volume.array.tobytes() for volume in volumes}) == 1
    assert all(np.array_equal(volume.affine, volumes[0].affine) for volume in volumes)


def test_enhanced_objects_split_by_time_and_by_frame_type():
    phases = [dicom.read_volume(place("dcm_qa_enh/Siemens/XA10"), pick=n) for n in range(4)]
    assert {volume.image.array.shape for volume in phases} == {(1, 64, 64, 6)}
    files = [Path(volume.series.files[0]).name for volume in phases]
    assert sorted(files) == ["6_1.dcm", "6_2.dcm", "6_3.dcm", "6_4.dcm"]
    magnitude, field = (dicom.read_volume(place("dcm_qa_enh/Philips"), pick=n).image.array for n in range(2))
    assert magnitude.min() == 0  # slope 1.28, intercept 0
    assert field.min() < -400  # slope 0.244, intercept -500: hertz


def test_the_tilted_head_is_resampled_and_corrected_on_request():
    even = dicom.read_volume(place("head_ct_ge_tilt18"), gaps="resample")
    assert even.image.array.shape == (1, 512, 512, 37)
    assert np.diff([0, even.image.affine[:3, 2] @ even.image.affine[:3, 2]])[0] == pytest.approx(4.22**2, abs=0.02)
    assert any("18.5 degrees" in note for note in even.notes)
    first = dicom.read_volume(place("head_ct_ge_tilt18"), gaps="report").image.array[0, :, :, 0]
    assert np.array_equal(even.image.array[0, :, :, 0], first)
    upright = dicom.read_volume(place("head_ct_ge_tilt18"), gaps="resample", tilt="correct")
    assert upright.spacing == pytest.approx((0.48828, 0.48828, 4.0), abs=0.01)
    axes = upright.image.affine[:3, :3] / np.linalg.norm(upright.image.affine[:3, :3], axis=0)
    assert np.abs(axes.T @ axes - np.eye(3)).max() < 1e-6


def test_missing_slices_are_filled_on_request():
    volume = dicom.read_volume(place("dicom2nifti/failing/sliceincrement/001"), gaps="resample")
    assert (volume.image.array.shape[3], volume.spacing[2]) == (5, pytest.approx(5.0, abs=1e-3))


def test_the_index_of_the_collection():
    entries = list(dicom.index_tree(place("")))
    assert len(entries) == 264
    assert sorted(Path(entry.path).name for entry in entries if entry.problem) == ["DIRFILE", "I10"]
    assert not any(entry.damaged for entry in entries)
