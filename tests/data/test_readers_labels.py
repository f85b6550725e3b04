"""Label maps and deep images: values as stored, whatever the size of the image."""

from __future__ import annotations

import gzip
import struct
import zlib

import nibabel
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from heldout.data.image import BadFile
from heldout.data.readers import header_affine, open_any, open_mask

PALETTES = {
    "VOC": [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0],
    "white, black": [255, 255, 255, 0, 0, 0],
    "gray": [0, 0, 0, 85, 85, 85, 170, 170, 170, 255, 255, 255],
}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from([15, 16, 116, 150, 160, 161, 416]),
    st.sampled_from([16, 40, 160, 256]),
    st.sampled_from(list(PALETTES)),
    st.sampled_from(["png", "tif"]),
    st.integers(0, 2**32 - 1),
)
def test_palette_indices_are_labels_at_every_size(tmp_path, height, width, palette, ending, seed):
    colors = PALETTES[palette]
    labels = np.random.default_rng(seed).integers(0, len(colors) // 3, (height, width)).astype(np.uint8)
    picture = Pillow.fromarray(labels)
    picture.putpalette(colors + [0] * (768 - len(colors)))
    picture.save(tmp_path / f"a.{ending}")
    assert np.array_equal(open_mask(tmp_path / f"a.{ending}")[0], labels)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.uint32, np.float32])
@pytest.mark.parametrize("side", [15, 16, 160])
def test_tiff_values_are_as_stored(tmp_path, dtype, side):
    array = np.random.default_rng(0).integers(0, 200, (side, 160)).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="minisblack")
    assert np.array_equal(open_any(tmp_path / "a.tif").array[0], array)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_white_is_zero_is_inverted_at_every_depth(tmp_path, dtype):
    array = np.random.default_rng(0).integers(0, 200, (20, 16)).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="miniswhite")
    assert np.array_equal(open_any(tmp_path / "a.tif").array[0], np.iinfo(dtype).max - array)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("ending", ["png", "tif"])
def test_colors_keep_their_depth(tmp_path, dtype, channels, ending):
    import cv2

    array = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (16, 20, channels)).astype(dtype)
    cv2.imwrite(str(tmp_path / f"a.{ending}"), array)
    assert np.array_equal(open_any(tmp_path / f"a.{ending}").array, array[..., 2::-1].transpose(2, 0, 1))


@pytest.mark.parametrize("value", [0.5, -1, 300])
@pytest.mark.parametrize("ending", ["tif", "nii", "npz"])
def test_the_value_that_is_no_label_is_named(tmp_path, value, ending):
    array = np.zeros((6, 5, 4), np.float32)
    array[:2], array[2] = 1, value
    path = tmp_path / f"a.{ending}"
    reference = path
    if ending == "tif":
        tifffile.imwrite(path, array[..., 0])
    elif ending == "nii":
        nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), path)
    else:
        np.savez(path, mask=array[None])
        reference = f"{path}#mask:0"
    with pytest.raises(BadFile, match=f"label value {value:g}.*whole numbers") as error:
        open_mask(reference)
    assert path.name in str(error.value)


def test_whole_numbers_stored_as_floats_are_labels(tmp_path):
    array = np.random.default_rng(0).integers(0, 4, (16, 20)).astype(np.float32)
    tifffile.imwrite(tmp_path / "a.tif", array)
    assert np.array_equal(open_mask(tmp_path / "a.tif")[0], array)


@pytest.mark.parametrize(("unit", "millimeters"), [("meter", 1e3), ("mm", 1), ("micron", 1e-3), ("unknown", 1)])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("ending", ["nii", "nii.gz"])
def test_affines_are_in_millimeters_whatever_the_unit_of_the_header(tmp_path, unit, millimeters, kind, ending):
    affine = np.diag([0.8, 0.9, 2.5, 1])
    affine[:3, 3] = (-20, 11, 3)
    stored = affine.copy()
    stored[:3] /= millimeters
    image = kind(np.arange(60, dtype=np.int16).reshape(3, 4, 5), stored)
    image.header.set_xyzt_units(unit, "sec")
    nibabel.save(image, tmp_path / f"a.{ending}")
    assert np.allclose(open_any(tmp_path / f"a.{ending}").affine, affine, atol=1e-4)
    assert np.allclose(header_affine(tmp_path / f"a.{ending}"), affine, atol=1e-4)


def test_voxels_of_a_micron_have_a_volume(tmp_path):
    image = nibabel.Nifti1Image(np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.diag([0.5, 0.5, 1, 1]))
    image.header.set_xyzt_units("micron")
    nibabel.save(image, tmp_path / "a.nii")
    assert np.allclose(np.diag(open_any(tmp_path / "a.nii").affine)[:3], [0.0005, 0.0005, 0.001])


def test_an_unknown_unit_code_is_refused(tmp_path):
    data = bytearray(nibabel.Nifti1Image(np.zeros((3, 4, 5), np.int16), np.eye(4)).to_bytes())
    data[123] = 5
    (tmp_path / "a.nii").write_bytes(data)
    with pytest.raises(BadFile, match=r"a\.nii has the unknown spatial unit 5: set xyzt_units"):
        open_any(tmp_path / "a.nii")


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("palette", [False, True])
def test_pictures_of_few_bits_hold_labels_as_stored(tmp_path, bits, palette):
    labels = np.random.default_rng(0).integers(0, min(2**bits, 3), (9, 21)).astype(np.uint8)
    rows = b""
    for row in labels:
        digits = np.unpackbits(row[:, None], axis=1)[:, -bits:].ravel()
        rows += b"\0" + np.packbits(digits).tobytes()
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", 21, 9, bits, 3 if palette else 0, 0, 0, 0))]
    chunks += [(b"PLTE", bytes([255, 255, 255, 0, 0, 0, 9, 9, 9, 7, 7, 7][: 3 * 2 ** min(bits, 2)]))] * palette
    chunks += [(b"tRNS", b"\0")] * palette + [(b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    data = b"".join(struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks)
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + data)
    assert np.array_equal(open_mask(tmp_path / "a.png")[0], labels)


@pytest.mark.parametrize("bits", [2, 4])
@pytest.mark.parametrize("labels", [(0, 1), (0, 1, 2)])
def test_a_tiff_of_few_bits_holds_labels_as_stored(tmp_path, bits, labels):
    mask = np.random.default_rng(0).choice(labels, (9, 24)).astype(np.uint8)
    digits = np.unpackbits(mask[..., None], axis=-1)[..., -bits:].reshape(9, -1)
    data = np.packbits(digits, axis=1).tobytes()
    entries = [(256, 24), (257, 9), (258, bits), (259, 1), (262, 1), (273, 122), (277, 1), (278, 9), (279, len(data))]
    head = b"II*\0" + struct.pack("<IH", 8, 8 + 1)
    head += b"".join(struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in entries)
    (tmp_path / "a.tif").write_bytes((head + struct.pack("<I", 0)).ljust(122, b"\0") + data)
    assert np.array_equal(open_mask(tmp_path / "a.tif", binary=len(labels) == 2)[0], mask)


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_a_mask_that_only_transparency_shows_is_refused_and_other_transparency_is_not(tmp_path, mode):
    labels = np.random.default_rng(0).integers(0, 2, (9, 21)).astype(np.uint8)
    colors = len(mode) - 1
    plain, shown = np.zeros((9, 21, colors), np.uint8), np.repeat(labels[..., None], colors, 2)
    Pillow.fromarray(np.dstack([plain, 255 * labels]), mode).save(tmp_path / "a.png")
    with pytest.raises(BadFile, match="holds its mask as transparency: store the mask as gray"):
        open_mask(tmp_path / "a.png")
    Pillow.fromarray(np.dstack([shown, 255 * labels]), mode).save(tmp_path / "a.png")
    assert np.array_equal(open_mask(tmp_path / "a.png")[0], labels)


@pytest.mark.parametrize(("dtype", "options"), [(np.float64, {}), (np.int64, {}), (np.uint16, {"bigtiff": True})])
def test_a_tiff_that_is_not_read_says_how_to_save_it(tmp_path, dtype, options):
    tifffile.imwrite(tmp_path / "a.tif", np.ones((8, 9), dtype), byteorder=">", **options)
    with pytest.raises(BadFile, match=r"a\.tif stores its pixels in a way.*save it again as PNG or TIFF"):
        open_mask(tmp_path / "a.tif")


def test_a_volume_compressed_twice_says_so(tmp_path):
    nibabel.save(nibabel.Nifti1Image(np.ones((3, 4, 5), np.uint8), np.eye(4)), tmp_path / "a.nii.gz")
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress((tmp_path / "a.nii.gz").read_bytes()))
    with pytest.raises(BadFile, match="compressed with gzip twice: unpack it once"):
        open_mask(tmp_path / "a.nii.gz")


def test_a_header_whose_two_affines_disagree_is_noted(tmp_path):
    image = nibabel.Nifti1Image(np.random.default_rng(0).random((3, 4, 5)), np.eye(4))
    image.header.set_xyzt_units("mm")
    for qform, noted in ((np.diag([2, 2, 2, 1]), True), (np.eye(4), False)):
        image.header.set_qform(qform, 1)
        image.header.set_sform(np.eye(4), 1)
        image.to_filename(tmp_path / "a.nii")
        found = open_any(tmp_path / "a.nii")
        assert np.array_equal(found.affine, np.eye(4))
        assert ("sform and qform of the header disagree" in found.note) == noted
