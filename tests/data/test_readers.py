"""Readers: what a file shows is what comes out, and a file that cannot be trusted is refused by name."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
import zlib

import nibabel
import numpy as np
import pytest
from PIL import Image as Pillow

from heldout.data import readers
from heldout.data.image import BadFile
from heldout.data.readers import format_of, nifti, npz, open_any, open_mask
from heldout.data.readers.image import displayed_size


@pytest.fixture
def gray():
    """A smooth textured image (48, 64), uint8."""
    rows, columns = np.mgrid[:48, :64]
    return (rows * 2 + columns + np.random.default_rng(0).integers(0, 40, (48, 64))).astype(np.uint8)


def save(path, array, *, mode=None, **options):
    picture = Pillow.fromarray(array) if not isinstance(array, Pillow.Image) else array
    (picture.convert(mode) if mode else picture).save(path, **options)
    return path


def refused(call, *words):
    with pytest.raises(BadFile) as error:
        call()
    for word in words:
        assert word in str(error.value)


# Images


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "LA"])
def test_modes_read_alike(tmp_path, gray, mode):
    picture = Pillow.fromarray(gray).quantize(256) if mode == "P" else Pillow.fromarray(gray).convert(mode)
    image = open_any(save(tmp_path / "a.png", picture))
    assert image.array.shape == (1, 48, 64)
    assert image.array.dtype == np.uint8
    assert image.affine is None
    assert np.abs(image.array[0].astype(int) - gray).max() <= (2 if mode == "P" else 0)


def test_color_has_three_channels_and_no_alpha(tmp_path):
    color = np.random.default_rng(0).integers(0, 256, (20, 30, 4), np.uint8)
    image = open_any(save(tmp_path / "a.png", color))
    assert np.array_equal(image.array, color[..., :3].transpose(2, 0, 1))


def test_one_bit_picture_is_black_and_white(tmp_path, gray):
    assert set(np.unique(open_any(save(tmp_path / "a.png", gray, mode="1")).array)) == {0, 255}


@pytest.mark.parametrize("ending", [".png", ".tif"])
def test_sixteen_bits_stay(tmp_path, ending):
    cv2 = pytest.importorskip("cv2")
    color = np.random.default_rng(0).integers(0, 65536, (20, 30, 3), np.uint16)
    cv2.imwrite(str(tmp_path / f"color{ending}"), color[..., ::-1])
    cv2.imwrite(str(tmp_path / f"gray{ending}"), color[..., 0])
    assert np.array_equal(open_any(tmp_path / f"color{ending}").array, color.transpose(2, 0, 1))
    image = open_any(tmp_path / f"gray{ending}")
    assert image.array.dtype == np.uint16
    assert np.array_equal(image.array, color[None, ..., 0])


def test_the_ending_does_not_matter(tmp_path, gray):
    path = save(tmp_path / "a.jpg", gray, format="PNG")
    assert format_of(path) == "png"
    assert np.array_equal(open_any(path).array[0], gray)


@pytest.mark.parametrize("ending", [".png", ".jpg", ".tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_shows_what_a_viewer_shows(tmp_path, gray, orientation, ending):
    turns = ["FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM", "TRANSPOSE", "ROTATE_270", "TRANSVERSE", "ROTATE_90"]
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / f"a{ending}", gray, exif=exif)
    stored = Pillow.fromarray(open_any(save(tmp_path / f"plain{ending}", gray)).array[0])
    turned = stored if orientation == 1 else stored.transpose(Pillow.Transpose[turns[orientation - 2]])
    expected = np.asarray(turned)
    assert np.array_equal(open_any(path).array[0], expected)
    assert displayed_size(path) == expected.shape


def truncated(path, array, share, **options):
    buffer = io.BytesIO()
    Pillow.fromarray(array).save(buffer, "JPEG", quality=95, **options)
    data = buffer.getvalue()
    path.write_bytes(data[: int(len(data) * share)])
    return data


@pytest.mark.parametrize("options", [{}, {"restart_marker_rows": 1}, {"optimize": True}])
def test_truncated_jpeg_is_refused_and_its_rows_counted(tmp_path, gray, options):
    truncated(tmp_path / "cut.jpg", gray, 0.6, **options)
    refused(lambda: open_any(tmp_path / "cut.jpg"), "cut.jpg", "of its 48 rows are missing", "restore", "--skip-bad")


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_salvage_returns_stored_rows_only(tmp_path, gray, orientation):
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    whole = truncated(tmp_path / "cut.jpg", gray, 0.6, exif=exif)
    (tmp_path / "whole.jpg").write_bytes(whole)
    expected = open_any(tmp_path / "whole.jpg").array
    image = open_any(tmp_path / "cut.jpg", salvage=True)
    assert image.full_shape == expected.shape[1:]
    padded = np.pad(np.ones(image.array.shape[1:], bool), image.lost)
    assert padded.shape == image.full_shape
    assert 0 < padded.sum() < padded.size
    assert np.array_equal(expected[0][padded], image.array[0].ravel())


def test_jpeg_padded_gray_by_an_earlier_tool_is_refused(tmp_path, gray):
    whole = truncated(tmp_path / "cut.jpg", gray, 0.5)
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2] + b"\xff\xd9")
    refused(lambda: open_any(tmp_path / "cut.jpg"), "cut.jpg", "rows are missing")


def test_jpeg_that_really_ends_gray_is_fine(tmp_path):
    array = np.full((48, 64), 128, np.uint8)
    array[:8] = 30
    assert open_any(save(tmp_path / "a.jpg", array)).lost is None


def test_bytes_after_the_end_of_a_jpeg_do_not_matter(tmp_path, gray):
    whole = truncated(tmp_path / "a.jpg", gray, 1)
    (tmp_path / "a.jpg").write_bytes(whole + bytes(100) + b"\x3f\xff\xda\x17")
    assert open_any(tmp_path / "a.jpg").lost is None


def test_progressive_jpeg(tmp_path, gray):
    whole = truncated(tmp_path / "cut.jpg", gray, 0.7, progressive=True)
    (tmp_path / "whole.jpg").write_bytes(whole)
    assert open_any(tmp_path / "whole.jpg").array.shape == (1, 48, 64)
    refused(lambda: open_any(tmp_path / "cut.jpg", salvage=True), "cut.jpg", "progressive", "restore")


def test_jpeg_without_a_row_cannot_be_salvaged(tmp_path, gray):
    whole = truncated(tmp_path / "cut.jpg", gray, 1)
    (tmp_path / "cut.jpg").write_bytes(whole[: whole.index(b"\xff\xda") + 20])
    refused(lambda: open_any(tmp_path / "cut.jpg", salvage=True), "cut.jpg", "restore")


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.jpg"])
def test_every_truncation_is_refused(tmp_path, gray, name):
    options = {"compression": "tiff_adobe_deflate"} if name == "a.tif" else {}
    data = save(tmp_path / name, gray, **options).read_bytes()
    for length in (0, 5, 30, len(data) // 3, len(data) // 2, len(data) - 40):
        (tmp_path / name).write_bytes(data[:length])
        refused(lambda: open_any(tmp_path / name), name)


@pytest.mark.parametrize("share", [0.01, 0.3, 0.6, 0.9])
def test_a_flipped_bit_in_a_png_is_refused(tmp_path, gray, share):
    data = bytearray(save(tmp_path / "a.png", gray).read_bytes())
    data[int(len(data) * share) + 8] ^= 16
    (tmp_path / "a.png").write_bytes(data)
    refused(lambda: open_any(tmp_path / "a.png"), "a.png", "restore")


def test_several_pages_are_refused(tmp_path, gray):
    picture = Pillow.fromarray(gray)
    picture.save(tmp_path / "a.tif", save_all=True, append_images=[picture])
    refused(lambda: open_any(tmp_path / "a.tif"), "a.tif", "2 pages", "split")


def test_nan_in_a_float_tiff_is_refused(tmp_path, gray):
    array = gray.astype(np.float32)
    array[3, 4] = np.nan
    refused(lambda: open_any(save(tmp_path / "a.tif", array)), "a.tif", "NaN", "replace")


def test_missing_and_foreign_files_are_refused(tmp_path):
    refused(lambda: open_any(tmp_path / "gone.png"), "gone.png", "restore")
    (tmp_path / "a.png").write_text("a text")
    refused(lambda: open_any(tmp_path / "a.png"), "a.png", "convert")


def test_wrong_dimensions_are_refused(tmp_path, gray):
    refused(lambda: open_any(save(tmp_path / "a.png", gray), dimensions=3), "a.png", "2 spatial axes", "2D")


# Image masks


def test_binary_mask_becomes_0_1_and_labels_stay(tmp_path):
    mask = np.zeros((9, 9), np.uint8)
    mask[2:4] = 255
    assert open_mask(save(tmp_path / "a.png", mask)).tolist() == (mask > 0).astype(int)[None].tolist()
    mask[5] = 2
    assert set(np.unique(open_mask(save(tmp_path / "b.png", mask)))) == {0, 2, 255}


def test_palette_mask_gives_indices(tmp_path):
    indices = np.random.default_rng(0).integers(0, 3, (9, 9)).astype(np.uint8)
    picture = Pillow.fromarray(indices, "P")
    picture.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    picture.save(tmp_path / "a.png")
    assert np.array_equal(open_mask(tmp_path / "a.png")[0], indices)


def test_color_and_jpeg_masks_are_refused(tmp_path, gray):
    color = np.stack([gray, gray, 255 - gray], -1)
    refused(lambda: open_mask(save(tmp_path / "a.png", color)), "a.png", "gray values")
    refused(lambda: open_mask(save(tmp_path / "b.jpg", gray)), "b.jpg", "PNG")


# NIfTI


@pytest.fixture
def affine():
    matrix = np.diag([1.5, 1.5, 4, 1])
    matrix[:3, 3] = (-20, 11, 3)
    return matrix


def volume(path, array, affine, **header):
    image = nibabel.Nifti1Image(array, affine)
    for key, value in header.items():
        image.header[key] = value
    nibabel.save(image, path)
    return path


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, ">i2"])
def test_nifti_round_trip(tmp_path, affine, name, dtype):
    array = np.random.default_rng(0).integers(0, 100, (5, 6, 7)).astype(dtype)
    path = volume(tmp_path / (name if "." in name else "a.nii.gz"), array, affine)
    path = path.rename(tmp_path / name)
    image = open_any(path, dimensions=3)
    assert image.array.shape == (1, 5, 6, 7)
    assert np.array_equal(image.array[0], array)
    assert np.allclose(image.affine, affine)
    assert image.array.dtype.isnative


def test_nifti_channels_and_scaling(tmp_path, affine):
    array = np.random.default_rng(0).random((4, 5, 6, 3)).astype(np.float32)
    assert np.array_equal(open_any(volume(tmp_path / "a.nii.gz", array, affine)).array, array.transpose(3, 0, 1, 2))
    assert open_any(volume(tmp_path / "b.nii.gz", array[..., :1], affine)).array.shape == (1, 4, 5, 6)
    raw = nibabel.Nifti1Image(np.full((2, 2, 2), 10, np.int16), affine)
    raw.header.set_slope_inter(2, 1)
    data = bytearray(raw.to_bytes())
    data[112:120] = np.array([2, 1], "<f4").tobytes()
    (tmp_path / "c.nii").write_bytes(data)
    assert np.unique(open_any(tmp_path / "c.nii").array).tolist() == [21]


def test_nifti_truncations_and_flips_are_refused(tmp_path, affine):
    array = np.random.default_rng(0).integers(0, 100, (9, 9, 9)).astype(np.int16)
    packed = volume(tmp_path / "a.nii.gz", array, affine).read_bytes()
    plain = gzip.decompress(packed)
    for data in (packed[:200], packed[: len(packed) // 2], packed[:-4]):
        (tmp_path / "cut.nii.gz").write_bytes(data)
        refused(lambda: nifti.read(tmp_path / "cut.nii.gz"), "cut.nii.gz", "restore")
    (tmp_path / "cut.nii").write_bytes(plain[:-10])
    refused(lambda: nifti.read(tmp_path / "cut.nii"), "cut.nii", "10 of", "restore")
    for position in (len(packed) // 2, len(packed) - 6):
        flipped = bytearray(packed)
        flipped[position] ^= 4
        (tmp_path / "flip.nii.gz").write_bytes(flipped)
        refused(lambda: nifti.read(tmp_path / "flip.nii.gz"), "flip.nii.gz", "restore")


def test_nifti_claims_are_not_believed(tmp_path, affine):
    data = bytearray(nibabel.Nifti1Image(np.zeros((4, 4, 4), np.uint8), affine).to_bytes())
    data[42:48] = np.array([4000, 4000, 4000], "<i2").tobytes()
    (tmp_path / "huge.nii.gz").write_bytes(gzip.compress(bytes(data)))
    refused(lambda: nifti.read(tmp_path / "huge.nii.gz"), "huge.nii.gz", "GiB")
    data[42:48] = np.array([500, 500, 500], "<i2").tobytes()
    (tmp_path / "large.nii.gz").write_bytes(gzip.compress(bytes(data)))
    refused(lambda: nifti.read(tmp_path / "large.nii.gz"), "large.nii.gz", "claims")
    data[42:48] = np.array([4, 4, 4], "<i2").tobytes()
    (tmp_path / "bomb.nii.gz").write_bytes(gzip.compress(bytes(data) + bytes(2**24)))
    refused(lambda: nifti.read(tmp_path / "bomb.nii.gz"), "bomb.nii.gz", "more data than its header claims")


@pytest.mark.parametrize(
    ("position", "value", "word"),
    [
        (40, np.array([2], "<i2"), "axes"),
        (42, np.array([0], "<i2"), "axes"),
        (70, np.array([1792], "<i2"), "complex"),
        (70, np.array([999], "<i2"), "header"),
        (80, np.array([0], "<f4"), "voxel size"),
        (80, np.array([np.nan], "<f4"), "voxel size"),
        (280, np.array([0, 0, 0, 0], "<f4"), "affine"),
        (280, np.array([np.nan], "<f4"), "affine"),
    ],
)
def test_nifti_header_defects_are_refused(tmp_path, affine, position, value, word):
    data = bytearray(nibabel.Nifti1Image(np.zeros((4, 4, 4), np.int16), affine).to_bytes())
    data[position : position + value.nbytes] = value.tobytes()
    (tmp_path / "bad.nii").write_bytes(data)
    refused(lambda: nifti.read(tmp_path / "bad.nii"), "bad.nii", word)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nifti_without_finite_values_is_refused(tmp_path, affine, value):
    array = np.zeros((4, 4, 4), np.float32)
    array[1, 2, 3] = value
    refused(lambda: nifti.read(volume(tmp_path / "a.nii.gz", array, affine)), "a.nii.gz", "1 NaN", "--skip-bad")


def test_nifti_mask_may_be_stored_as_floats(tmp_path, affine):
    array = np.random.default_rng(0).integers(0, 3, (4, 4, 4)).astype(np.float32)
    mask = open_mask(volume(tmp_path / "a.nii.gz", array, affine))
    assert mask.dtype == np.uint8
    assert np.array_equal(mask[0], array)


@pytest.mark.parametrize("value", [0.5, -1, 300])
def test_nifti_mask_with_odd_values_is_refused(tmp_path, affine, value):
    array = np.zeros((4, 4, 4), np.float32)
    array[0] = value
    refused(lambda: open_mask(volume(tmp_path / "a.nii.gz", array, affine)), "a.nii.gz", "whole numbers")


# Archives


def test_npz_items(tmp_path):
    volumes = np.random.default_rng(0).integers(0, 2, (3, 4, 5, 6)).astype(np.uint8)
    np.savez_compressed(tmp_path / "a.npz", train_images=volumes, colors=volumes)
    image = open_any(f"{tmp_path}/a.npz#train_images:2")
    assert np.array_equal(image.array, volumes[2:])
    assert np.array_equal(image.affine, np.eye(4))
    assert open_any(f"{tmp_path}/a.npz#colors:1", dimensions=2).array.shape == (6, 4, 5)
    assert npz.shape(tmp_path / "a.npz", "train_images") == (3, 4, 5, 6)
    assert not npz.load(tmp_path / "a.npz", "train_images").flags.writeable
    assert np.array_equal(readers.open_mask(f"{tmp_path}/a.npz#train_images:0"), volumes[:1])


def test_npz_defects_are_refused(tmp_path):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, x=np.random.default_rng(0).random((3, 4, 4, 4)))
    refused(lambda: npz.read(f"{path}#y:0"), "a.npz", "no array y", "it has x")
    refused(lambda: npz.read(f"{path}#x:3"), "a.npz", "3 items")
    refused(lambda: npz.read(f"{path}#x"), "file.npz#key:index")
    refused(lambda: npz.read(tmp_path / "gone.npz#x:0"), "gone.npz", "restore")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "flip.npz").write_bytes(data)
    refused(lambda: npz.read(tmp_path / "flip.npz#x:0"), "flip.npz", "damaged", "restore")
    np.savez(tmp_path / "pickle.npz", x=np.array([{}], object))
    refused(lambda: npz.read(tmp_path / "pickle.npz#x:0"), "pickle.npz", "restore")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("size", [(12_000, 12_000), (8193, 8192), (20_000, 20_000)])
@pytest.mark.parametrize("ending", ["png", "jpg", "tif"])
def test_a_huge_picture_is_refused_before_it_is_decoded(tmp_path, gray, monkeypatch, size, ending):
    path = save(tmp_path / f"huge.{ending}", gray)
    data = bytearray(path.read_bytes())
    height, width = size
    if ending == "png":
        data[16:24] = struct.pack(">II", width, height)
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    elif ending == "jpg":
        place = data.index(b"\xff\xc0") + 5
        data[place : place + 4] = struct.pack(">HH", height, width)
    else:
        start = struct.unpack("<I", data[4:8])[0]
        count = struct.unpack("<H", data[start : start + 2])[0]
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            tag = struct.unpack("<H", data[entry : entry + 2])[0]
            if tag in (256, 257):
                value = width if tag == 256 else height
                data[entry + 2 : entry + 12] = struct.pack("<HII", 4, 1, value)
    path.write_bytes(data)
    monkeypatch.setattr(Pillow.Image, "load", lambda _: pytest.fail("it was decoded"))
    for read in (open_any, open_mask, displayed_size):
        with pytest.raises(BadFile, match=rf"huge.{ending} has .* pixels, more than .* scale it down"):
            read(path)


def test_arrays_of_an_archive_that_claim_too_much_are_refused(tmp_path):
    from heldout.data.readers import npz

    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (2**40,)})
    for name, data in (("header", header.getvalue()), ("bomb", b"")):
        with zipfile.ZipFile(tmp_path / f"{name}.npz", "w", zipfile.ZIP_DEFLATED) as archive:
            if name == "bomb":
                with archive.open("x.npy", "w") as handle:
                    np.lib.format.write_array_header_1_0(
                        handle, {"descr": "|u1", "fortran_order": False, "shape": (2**30 + 2**20,)}
                    )
                    for _ in range(2**10 + 1):
                        handle.write(bytes(2**20))
            else:
                archive.writestr("x.npy", data)
        refused(lambda name=name: npz.load(tmp_path / f"{name}.npz", "x"), f"{name}.npz claims", "MiB under x")
