"""Large images by tile, on small ones; needs the extra ``large``."""

import numpy as np
import pytest

from heldout.config import BaseConfig
from heldout.data.cases import open_dataset
from heldout.data.image import BadFile
from heldout.data.rle import RunLengths
from heldout.errors import UserError

pytestmark = pytest.mark.extras
tifffile = pytest.importorskip("tifffile")
pytest.importorskip("zarr")

from heldout.data.readers.regions import open_large  # noqa: E402
from heldout.data.sources.slides import Slides, boxes  # noqa: E402
from heldout.deliver import large_images  # noqa: E402
from heldout.deliver.large_images import BandBlender, tile_weights  # noqa: E402


def write_pyramid(path, picture, levels=2):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tifffile.TiffWriter(path) as writer:
        options = {"tile": (64, 64), "compression": "zlib", "photometric": "rgb" if picture.ndim == 3 else "minisblack"}
        writer.write(picture, subifds=levels - 1, **options)
        for level in range(1, levels):
            writer.write(picture[:: 2**level, :: 2**level], subfiletype=1, **options)


@pytest.fixture
def glands(tmp_path, monkeypatch):
    folder, generator = tmp_path / "raw" / "glands", np.random.default_rng(0)
    lines = ["id,patient,path,mask"]
    truth = {}
    for number in range(8):
        picture = generator.integers(100, 256, (300, 200, 3)).astype(np.uint8)
        picture[:128, :128] = 240  # no tissue
        mask = np.zeros((300, 200), np.uint8)
        mask[150:170, 50 + number : 140] = 1
        truth[f"s{number}"] = mask
        write_pyramid(folder / f"s{number}.tif", picture)
        if number % 2:
            tifffile.imwrite(folder / f"s{number}_mask.tif", mask, tile=(64, 64))
            lines.append(f"s{number},p{number // 2},s{number}.tif,s{number}_mask.tif")
        else:
            lines.append(f"s{number},p{number // 2},s{number}.tif,{RunLengths().encode(mask)}")
    (folder / "cases.csv").write_text("\n".join(lines))
    monkeypatch.setenv("HELDOUT_DATA", str(tmp_path / "raw"))
    monkeypatch.setenv("HELDOUT_HOME", str(tmp_path / "home"))
    return folder, truth


def test_tiles_are_cases_without_the_empty_ones(glands):
    folder, truth = glands
    config = BaseConfig(
        dataset="glands", source="slides", source_options={"tile": 128}, fold_count=2, test_fraction=0.0, channels=3
    )
    dataset = open_dataset(config)
    train = dataset.part("train")
    assert len(train) == 8 * 5
    assert (train.groupby("patient_id")["case_id"].apply(lambda ids: dataset.folds[ids].nunique()) == 1).all()
    for row in train.to_dict("records"):
        slide, top, left = row["case_id"].replace("_r", " ").replace("_c", " ").split()
        top, left = int(top), int(left)
        picture = tifffile.imread(folder / f"{slide}.tif", key=0)
        image = dataset.read_image(row["case_id"]).array
        np.testing.assert_array_equal(image, picture[top : top + 128, left : left + 128].transpose(2, 0, 1))
        np.testing.assert_array_equal(
            dataset.truth(row["case_id"])[0], truth[slide][top : top + 128, left : left + 128]
        )


def test_new_pictures_are_covered_by_overlapping_tiles(glands):
    folder, _ = glands
    rows = Slides(folder, tile=128).loose(folder)
    assert set(rows["name"]) == {f"s{number}.tif" for number in range(8)}
    seen = np.zeros((300, 200), int)
    for top, left, height, width in rows["box"][rows["name"] == "s0.tif"]:
        assert (height, width) == (128, 128)
        seen[top : top + height, left : left + width] += 1
    assert (seen > 0).all()
    assert (seen > 1).any()


@pytest.mark.parametrize("shape", [(300, 200), (128, 128), (90, 260)])
@pytest.mark.parametrize("at_a_time", [2**21, 3000])
def test_a_band_blends_as_the_whole_would(tmp_path, monkeypatch, shape, at_a_time):
    monkeypatch.setattr(large_images, "_BLENDED", at_a_time)
    write_pyramid(tmp_path / "a.tif", np.zeros(shape, np.uint8), levels=1)
    generator, tiles = np.random.default_rng(0), list(boxes(open_large(tmp_path / "a.tif"), 128, 0.4))
    total, weight = np.zeros((2, *shape), np.float64), np.zeros(shape)
    blender, bands = BandBlender(shape[1]), []
    for top, left, height, width in tiles:
        values = generator.integers(0, 256, (2, height, width)).astype(np.float32)
        total[:, top : top + height, left : left + width] += values * tile_weights(height, width)
        weight[top : top + height, left : left + width] += tile_weights(height, width)
        bands += blender.rows_before(top)
        blender.add(values, top, left)
    bands += blender.rows_before(shape[0])
    assert [row for row, _ in bands] == list(np.cumsum([0, *(band.shape[1] for _, band in bands[:-1])]))
    whole = np.concatenate([band for _, band in bands], axis=1)
    assert np.abs(whole - total / weight).max() <= 0.51


def test_files_and_options_that_do_not_fit_are_named(tmp_path):
    (tmp_path / "a.tif").write_bytes(b"II*\0 nothing")
    with pytest.raises(BadFile, match=r"a.tif cannot be opened as a TIFF .*restore it"):
        open_large(tmp_path / "a.tif")
    with pytest.raises(BadFile, match=r"b.tif does not exist: restore it"):
        open_large(tmp_path / "b.tif")
    tifffile.imwrite(tmp_path / "f.tif", np.zeros((20, 20), np.float32))
    with pytest.raises(BadFile, match=r"f.tif has shape \(20, 20\) of float32: store it as"):
        open_large(tmp_path / "f.tif")
    (tmp_path / "cases.csv").write_text("id,path,mask\na,none.tif,-1\n")
    with pytest.raises(UserError, match=r"cases.csv row 2: the file 'none.tif' does not exist below"):
        Slides(tmp_path).index()
    with pytest.raises(UserError, match="source_options tile = 8 must be 32"):
        Slides(tmp_path, tile=8)
