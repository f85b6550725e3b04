"""MetaImage volumes: values, place in space, and damaged files."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from heldout.config import BaseConfig
from heldout.data.cases import open_dataset
from heldout.data.image import BadFile
from heldout.data.readers import format_of, header_affine, memory_of, open_any, open_mask
from heldout.data.sources.table import Table
from heldout.errors import UserError
from tests.data.to_submission import luna

VALUES = np.arange(2 * 3 * 4, dtype="<i2").reshape(4, 3, 2)  # z, y, x


def write(path, data=None, voxels="a.raw", **fields):
    data = VALUES.tobytes() if data is None else data
    about = {
        "ObjectType": "Image",
        "NDims": "3",
        "DimSize": "2 3 4",
        "ElementType": "MET_SHORT",
        "ElementSpacing": "0.5 1 2",
        "Offset": "10 20 -30",
        **fields,
    }
    lines = "".join(f"{name} = {value}\n" for name, value in about.items()) + f"ElementDataFile = {voxels}\n"
    path.write_bytes(lines.encode() + (data if voxels == "LOCAL" else b""))
    if voxels == "a.raw":
        (path.parent / "a.raw").write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("data", "fields"),
    [
        (None, {}),
        (None, {"voxels": "LOCAL"}),
        (zlib.compress(VALUES.tobytes()), {"voxels": "LOCAL", "CompressedData": "True"}),
        (VALUES.astype(">i2").tobytes(), {"BinaryDataByteOrderMSB": "True"}),
        (b"head" + VALUES.tobytes(), {"HeaderSize": "4"}),
        (b"some head" + VALUES.tobytes(), {"HeaderSize": "-1"}),
    ],
)
def test_values_and_affine_come_as_written(tmp_path, data, fields):
    path = write(tmp_path / "a.mhd", data, **fields)
    image = open_any(path, dimensions=3)
    assert format_of(path) == "metaimage"
    np.testing.assert_array_equal(image.array, VALUES.transpose(2, 1, 0)[None])
    assert image.array.dtype == np.int16
    # millimeters to the left and the back become those to the right and the front
    np.testing.assert_allclose(image.affine, [[-0.5, 0, 0, -10], [0, -1, 0, -20], [0, 0, 2, -30], [0, 0, 0, 1]])
    np.testing.assert_allclose(header_affine(path), image.affine)
    assert memory_of(path) > 0


def test_each_row_of_the_matrix_is_the_direction_of_an_axis(tmp_path):
    turned = open_any(write(tmp_path / "a.mhd", TransformMatrix="0 1 0 1 0 0 0 0 1")).affine
    np.testing.assert_allclose(turned[:3, :3], [[0, -1, 0], [-0.5, 0, 0], [0, 0, 2]])


def test_channels_and_masks(tmp_path):
    data = np.arange(48, dtype=np.float32)
    image = open_any(write(tmp_path / "a.mhd", data.tobytes(), ElementType="MET_FLOAT", ElementNumberOfChannels="2"))
    np.testing.assert_array_equal(image.array[1].ravel("F"), data[1::2])
    labels = (VALUES % 3).astype(np.uint8)
    mask = open_mask(write(tmp_path / "m.mhd", labels.tobytes(), ElementType="MET_UCHAR"))
    np.testing.assert_array_equal(mask[0], labels.transpose(2, 1, 0))


@pytest.mark.parametrize(
    ("data", "fields", "message"),
    [
        (VALUES.tobytes()[:-1], {}, r"a.raw is truncated: 47 of 48 bytes; restore it"),
        (VALUES.tobytes() + b"x", {}, r"a.raw holds more than its header claims: 49 of 48 bytes"),
        (None, {"voxels": "b.raw"}, r"a.mhd lacks its voxels, b.raw: put the file beside it"),
        (None, {"voxels": "../b.raw"}, r"names voxels outside of its folder \(../b.raw\): put the file beside it"),
        (None, {"voxels": "LIST"}, r"a file for each slice \(ElementDataFile = LIST\): convert it to one file"),
        (b"junk", {"CompressedData": "True"}, r"a.raw is damaged .*: restore it"),
        (None, {"ElementType": "MET_STRING"}, r"stores MET_STRING: convert it to one of MET_CHAR"),
        (None, {"DimSize": "2 3"}, r"NDims = '3' and DimSize = '2 3': a volume has three axes"),
        (None, {"DimSize": "99999 99999 99999"}, r"claims 1862589 GiB of voxels: more than the 8 GiB allowed"),
        (None, {"ElementSpacing": "0 1 1"}, r"span no space: repair its header"),
        (None, {"Offset": "1 nan 2"}, r"Offset = '1 nan 2': it must be 3 numbers"),
        (np.full(24, np.nan, "<f4").tobytes(), {"ElementType": "MET_FLOAT"}, r"holds 24 NaN or infinite voxels"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, data, fields, message):
    with pytest.raises(BadFile, match=message):
        open_any(write(tmp_path / "a.mhd", data, **fields))


def test_a_header_without_its_end_is_named(tmp_path):
    (tmp_path / "a.mhd").write_bytes(b"ObjectType = Image\nNDims = 3\nDimSize = 2 3 4\n")
    with pytest.raises(BadFile, match=r"a.mhd has a damaged MetaImage header, without ElementDataFile"):
        open_any(tmp_path / "a.mhd")


def test_points_in_millimeters_fall_on_what_they_name(tmp_path):
    luna(tmp_path)
    options = {"file": "annotations.csv", "id": "seriesuid", "path": "subset*/{id}.mhd", "dimensions": 3, "radius": 1.0}
    points = {"point": "coordX, coordY, coordZ", "point_in": "lps", "empty": "subset*/{id}.mhd"}
    source = Table(tmp_path, **options, **points)
    index = source.index()
    assert (len(index), set(index["split"])) == (16, {""})
    counts = []
    for row in index.to_dict("records"):
        image, mask = source.read_image(row).array[0], source.read_mask(row)[0]
        assert (image[mask > 0] == 100).all()
        counts.append(len(source.objects(row, mask[None])))
        assert mask.any() == bool(counts[-1])
    assert sorted(counts) == [0] * 6 + [1] * 5 + [2] * 5


def test_voxels_beside_a_header_are_files_of_the_dataset(tmp_path, monkeypatch):
    """A change of theirs is noticed, no line calls them unused, and what is copied has them too."""
    folder = tmp_path / "raw" / "volumes"
    folder.mkdir(parents=True)
    lines = ["id,path,label_lesion"]
    for number in range(6):
        write(folder / f"{number}.mhd", voxels=f"{number}.raw")
        (folder / f"{number}.raw").write_bytes((VALUES + number).tobytes())
        lines.append(f"c{number},{number}.mhd,{number % 2}")
    (folder / "cases.csv").write_text("\n".join(lines))
    monkeypatch.setenv("HELDOUT_DATA", str(tmp_path / "raw"))
    monkeypatch.setenv("HELDOUT_HOME", str(tmp_path / "home"))
    options = {"dimensions": 3}
    config = BaseConfig(dataset="volumes", source="table", source_options=options, fold_count=2, near_duplicates=False)
    dataset = open_dataset(config)
    row = dataset.cases.iloc[0]
    assert [path.name for path in dataset.source.files(row["image"])] == ["0.mhd", "0.raw"]
    assert not [line for line in dataset.source.report() if ".raw" in line]
    (folder / "0.raw").write_bytes((VALUES + 9).tobytes())
    with pytest.raises(UserError, match=r"0\.(raw|mhd) .*changed after it was indexed"):
        open_dataset(config)
