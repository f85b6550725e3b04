"""What is stored becomes what was meant: encodings, signs, bits, rescale, MONOCHROME1, colors."""

from __future__ import annotations

import builtins

import numpy as np
import pytest
from pydicom.pixels import apply_rescale
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from heldout.data.image import BadFile
from heldout.data.readers import dicom
from heldout.data.readers.dicom import codecs
from tests.data.dicom_toy import compress, enhanced, plane, save, series, voxels

BIG = (5, 36, 40)  # the JPEG 2000 encoder refuses smaller planes
COMPRESSED = (RLELossless, JPEG2000Lossless, JPEGLSLossless, JPEGLosslessSV1)


def stored(volume):
    return volume.image.array[0].transpose(2, 1, 0)


def compressed(syntax):
    def spoil(data, number):
        return compress(data, syntax)

    return spoil


def signed(data, bits=12):
    data.PixelRepresentation, data.BitsStored, data.HighBit = 1, bits, bits - 1
    return data


@pytest.mark.parametrize("syntax", COMPRESSED, ids=lambda uid: uid.name)
@pytest.mark.parametrize("workers", [1, 3])
def test_compressed_series_equal_the_uncompressed_one(tmp_path, syntax, workers):
    array = series(tmp_path, voxels(BIG), compressed(syntax))
    assert np.array_equal(stored(dicom.read_volume(tmp_path, workers=workers)), array.astype(int) - 1024)


@pytest.mark.parametrize("syntax", COMPRESSED, ids=lambda uid: uid.name)
def test_compressed_negative_values_keep_their_sign(tmp_path, syntax):
    array = voxels(BIG, high=4096).astype(np.int16) - 2048

    def spoil(data, number):
        data.PixelData = array[number].tobytes()
        data["PixelData"].VR = "OW"
        return compressed(syntax)(signed(data), number)

    series(tmp_path, voxels(BIG), spoil)
    assert np.array_equal(stored(dicom.read_volume(tmp_path)), array.astype(int) - 1024)


@pytest.mark.parametrize("syntax", COMPRESSED, ids=lambda uid: uid.name)
def test_without_the_fast_decoders_pydicom_gives_the_same(tmp_path, syntax, monkeypatch):
    array = series(tmp_path, voxels(BIG), compressed(syntax))
    real = builtins.__import__

    def lacking(name, *rest, **more):
        if name == "imagecodecs":
            raise ImportError(name)
        return real(name, *rest, **more)

    codecs._decoders.cache_clear()
    monkeypatch.setattr(builtins, "__import__", lacking)
    try:
        assert np.array_equal(stored(dicom.read_volume(tmp_path)), array.astype(int) - 1024)
    finally:
        codecs._decoders.cache_clear()


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian], ids=lambda uid: uid.name
)
def test_every_uncompressed_syntax_gives_the_same_values(tmp_path, syntax):
    def spoil(data, number):
        data.file_meta.TransferSyntaxUID = syntax
        if syntax == ExplicitVRBigEndian:
            data.PixelData = data.PixelData and np.frombuffer(data.PixelData, "<u2").astype(">u2").tobytes()
            data["PixelData"].VR = "OW"
        return data

    array = series(tmp_path, spoil=spoil)
    volume = dicom.read_volume(tmp_path)
    assert np.array_equal(stored(volume), array.astype(int) - 1024)
    assert volume.spacing == pytest.approx((0.4, 0.5, 2.0))


@pytest.mark.parametrize(
    "syntax",
    [
        ImplicitVRLittleEndian,
        DeflatedExplicitVRLittleEndian,
        RLELossless,
        JPEGLSLossless,
        JPEG2000Lossless,
        JPEGLosslessSV1,
    ],
    ids=lambda uid: uid.name,
)
def test_enhanced_objects_in_every_syntax(tmp_path, syntax):
    array = voxels(BIG)
    data = enhanced(array, [1] * 5, [0, 2, 4, 6, 8])
    if syntax in COMPRESSED:
        compress(data, syntax)
    data.file_meta.TransferSyntaxUID = syntax
    assert np.array_equal(stored(dicom.read_volume(save(data, tmp_path / "a.dcm"))), array)


@pytest.mark.parametrize(
    "syntax",
    [ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, *COMPRESSED],
    ids=lambda uid: uid.name,
)
def test_frames_are_counted_in_the_pixels_where_their_number_was_removed(tmp_path, syntax):
    array = voxels(BIG)
    data = enhanced(array, [1] * 5, [0, 2, 4, 6, 8])
    if syntax in COMPRESSED:
        compress(data, syntax)
    data.file_meta.TransferSyntaxUID = syntax
    for name in ("NumberOfFrames", "PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"):
        delattr(data, name)
    volume = dicom.read_volume(save(data, tmp_path / "a.dcm"))
    assert np.array_equal(stored(volume), array)
    assert any("NumberOfFrames (0028,0008) is missing: 5 frames" in note for note in volume.notes)


def test_rescale_is_applied_slice_by_slice(tmp_path):
    def spoil(data, number):
        data.RescaleSlope, data.RescaleIntercept = 0.5 + number, -3.25 * number
        return data

    array = series(tmp_path, spoil=spoil)
    volume = dicom.read_volume(tmp_path)
    assert volume.image.array.dtype == np.float32
    for number, values in enumerate(array):
        expected = apply_rescale(values, spoil(plane(values), number))
        assert np.allclose(stored(volume)[number], expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("bits", "sign", "slope", "intercept", "dtype"),
    [
        (12, 0, 1, -1024, "int16"),
        (16, 0, 1, -32768, "int16"),
        (16, 1, 1, 0, "int16"),
        (16, 1, 1, -1024, "int32"),
        (16, 0, 1, 0, "uint16"),
        (16, 0, 3, -5, "int32"),
        (12, 1, -2, 7, "int16"),
        (16, 0, 1, 0.5, "float32"),
    ],
)
@pytest.mark.parametrize("mirrored", [False, True])
def test_the_type_holds_every_value(tmp_path, bits, sign, slope, intercept, dtype, mirrored):
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if sign else (0, 2**bits - 1)
    values = np.random.default_rng(1).integers(low, high + 1, (1, 6, 8))
    values[0, 0, :2] = low, high

    def spoil(data, number):
        data.BitsStored, data.HighBit, data.PixelRepresentation = bits, bits - 1, sign
        data.RescaleSlope, data.RescaleIntercept = slope, intercept
        data.PhotometricInterpretation = "MONOCHROME1" if mirrored else "MONOCHROME2"
        return data

    series(tmp_path, values.astype(np.int32).astype(np.uint16), spoil)
    volume = dicom.read_volume(tmp_path)
    meant = low + high - values if mirrored else values
    assert volume.image.array.dtype == dtype
    assert np.allclose(stored(volume), meant * slope + intercept, rtol=1e-6)
    assert any("MONOCHROME1" in note for note in volume.notes) == mirrored


def test_bits_that_are_not_in_use_are_removed(tmp_path):
    array = voxels()
    series(tmp_path / "overlay", array | 0x8000)
    assert np.array_equal(stored(dicom.read_volume(tmp_path / "overlay")), array.astype(int) - 1024)
    series(tmp_path / "high", array << 4, lambda data, _: setattr(data, "HighBit", 15) or data)
    assert np.array_equal(stored(dicom.read_volume(tmp_path / "high")), array.astype(int) - 1024)
    negative = (voxels(high=4096).astype(np.int16) - 2048).astype(np.uint16) & 0x0FFF  # sign not extended
    series(tmp_path / "sign", negative, lambda data, _: signed(data))
    assert stored(dicom.read_volume(tmp_path / "sign")).min() < -1024 - 1000


def test_eight_bits_and_colors(tmp_path):
    gray = voxels(high=255).astype(np.uint8)

    def eight(data, number):
        data.BitsAllocated, data.BitsStored, data.HighBit, data.RescaleIntercept = 8, 8, 7, 0
        data.PixelData = gray[number].tobytes()
        data["PixelData"].VR = "OW"
        return data

    series(tmp_path / "gray", voxels(), eight)
    volume = dicom.read_volume(tmp_path / "gray")
    assert volume.image.array.dtype == np.uint8
    assert np.array_equal(stored(volume), gray)
    colors = np.random.default_rng(0).integers(0, 255, (5, 6, 8, 3)).astype(np.uint8)
    for planar in (0, 1):

        def colored(data, number, planar=planar):
            data = eight(data, number)
            data.SamplesPerPixel, data.PhotometricInterpretation, data.PlanarConfiguration = 3, "RGB", planar
            values = colors[number].transpose(2, 0, 1) if planar else colors[number]
            data.PixelData = values.tobytes()
            return data

        series(tmp_path / f"rgb{planar}", voxels(), colored)
        volume = dicom.read_volume(tmp_path / f"rgb{planar}")
        assert np.array_equal(volume.image.array, colors.transpose(3, 2, 1, 0))


def test_ybr_colors_become_rgb(tmp_path):
    def ybr(data, number):
        data.BitsAllocated, data.BitsStored, data.HighBit, data.RescaleIntercept = 8, 8, 7, 0
        data.SamplesPerPixel, data.PhotometricInterpretation, data.PlanarConfiguration = 3, "YBR_FULL", 0
        data.PixelData = np.broadcast_to(np.uint8([76, 85, 255]), (6, 8, 3)).tobytes()  # red
        data["PixelData"].VR = "OW"
        return data

    series(tmp_path, voxels(), ybr)
    image = dicom.read_volume(tmp_path).image.array
    assert image.shape == (3, 8, 6, 5)
    assert np.abs(image[:, 0, 0, 0].astype(int) - (254, 0, 0)).max() <= 2


def test_float_pixels_are_read_and_must_be_finite(tmp_path):
    values = np.random.default_rng(0).standard_normal((6, 8)).astype(np.float32)
    for name, last in (("good", 1.5), ("bad", np.nan)):
        values[-1, -1] = last
        data = plane(voxels()[0])
        for keyword in ("PixelData", "BitsStored", "HighBit", "PixelRepresentation", "RescaleIntercept"):
            delattr(data, keyword)
        data.BitsAllocated, data.FloatPixelData = 32, values.tobytes()
        save(data, tmp_path / f"{name}.dcm")
    assert np.array_equal(stored(dicom.read_volume(tmp_path / "good.dcm"))[0, :-1], values[:-1])
    with pytest.raises(BadFile, match=r"bad.dcm holds NaN or infinite pixels"):
        dicom.read_volume(tmp_path / "bad.dcm")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "PhotometricInterpretation (0028,0004) = PALETTE COLOR"),
        ({"SamplesPerPixel": 2}, "with 2 samples per pixel"),
        ({"BitsAllocated": 12}, "BitsAllocated (0028,0100) = 12"),
        ({"BitsStored": 17}, "BitsStored (0028,0101) = 17"),
        ({"HighBit": 3}, "HighBit (0028,0102) = 3"),
        ({"Rows": 0}, "Rows (0028,0010) = 0"),
        ({"Rows": 7}, "is truncated"),
        ({"RescaleSlope": 0}, "RescaleSlope (0028,1053) = 0"),
        ({"PixelSpacing": [0, 0]}, "PixelSpacing (0028,0030)"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "ImageOrientationPatient (0020,0037)"),
        ({"ImageOrientationPatient": [0, 0, 0, 0, 0, 0]}, "ImageOrientationPatient (0020,0037)"),
        ({"ImagePositionPatient": [1, 2]}, "ImagePositionPatient (0020,0032)"),
        ({"NumberOfFrames": "3"}, "is truncated"),
    ],
    ids=lambda value: "" if isinstance(value, str) else str(value),
)
def test_a_header_that_contradicts_itself_is_refused_by_file_and_tag(tmp_path, changes, words):
    path = save(plane(voxels()[0], **changes), tmp_path / "odd.dcm")
    with pytest.raises(BadFile) as caught:
        dicom.read_volume(path)
    assert "odd.dcm" in str(caught.value)
    assert words in str(caught.value)


def test_a_missing_element_is_named(tmp_path):
    for keyword in ("Rows", "Columns", "BitsAllocated", "PhotometricInterpretation", "PixelSpacing"):
        data = plane(voxels()[0])
        delattr(data, keyword)
        with pytest.raises(BadFile, match=f"lacking.dcm has no(thing)? ?.*{keyword}|{keyword}.*nothing"):
            dicom.read_volume(save(data, tmp_path / "lacking.dcm"))


def test_an_unread_syntax_is_named(tmp_path):
    data = plane(voxels()[0])
    save(data, tmp_path / "a.dcm")
    raw = (tmp_path / "a.dcm").read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.9\0")
    (tmp_path / "a.dcm").write_bytes(raw)
    with pytest.raises(BadFile, match=r"a.dcm has TransferSyntaxUID \(0002,0010\) = 1.2.840.10008.1.2.9"):
        dicom.read_volume(tmp_path / "a.dcm")
