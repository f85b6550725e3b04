"""Label maps and deep pictures: values as stored, whatever the size of the picture."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from heldout.data.image import BadFile
from heldout.data.readers import open_any, open_mask

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
