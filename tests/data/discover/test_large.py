"""Folders of large TIFF files: ``init`` proposes to read them by tile, and says why; brought to a submission."""

from __future__ import annotations

import csv
import sys

import cv2
import numpy as np
import pytest

from heldout.cli import run
from heldout.data.discover import discover
from heldout.data.rle import RunLengths
from heldout.data.sources import source_class
from heldout.errors import UserError
from tests.data.miniatures import picture, table

pytestmark = pytest.mark.extras
tifffile = pytest.importorskip("tifffile")
pytest.importorskip("zarr")

SIDES = (192, 256)


def slide(path, seed, levels=2):
    """Write a slide of so many resolutions; returns its mask."""
    small, drawn = picture(seed, 2, (48, 64))
    image = cv2.resize(np.stack([small, small // 2, small // 3], 2), SIDES[::-1])
    path.parent.mkdir(parents=True, exist_ok=True)
    with tifffile.TiffWriter(path) as writer:
        writer.write(image, tile=(64, 64), subifds=levels - 1, photometric="rgb")
        for level in range(1, levels):
            writer.write(image[:: 2**level, :: 2**level], tile=(64, 64), subfiletype=1, photometric="rgb")
    return cv2.resize(drawn, SIDES[::-1], interpolation=cv2.INTER_NEAREST)


def hubmap_kidney(root, levels=2):
    """HuBMAP kidney: run lengths by columns from 1, and a table that names no path; returns the masks by name."""
    masks, rows = {}, []
    for number in range(8 + 2):
        name, part = f"{0x2F6ECFCDF + 97 * number:09x}", "train" if number < 8 else "test"
        mask = slide(root / f"{part}/{name}.tiff", number, levels)
        if number < 8:
            masks[name] = mask
        rows.append(f"{name},{RunLengths().encode(mask) if number < 8 else ''}")
    table(root / "train.csv", "id,encoding", rows[:8])
    table(root / "sample_submission.csv", "id,predicted", rows[8:])
    return masks


def proposed(root):
    return discover(root, lambda question: question.choices[0])


def test_pyramids_of_a_table_are_read_by_tile_with_their_run_lengths(tmp_path):
    masks = hubmap_kidney(tmp_path)
    proposal = proposed(tmp_path)
    assert (proposal.source, proposal.task) == ("slides", "Segment2D")
    assert proposal.found["slides"].startswith(
        "8 of 8 images looked at are pyramids or larger than 4,096 pixels: train/"
    )
    assert "256 x 192 pixels in 2 resolutions" in proposal.found["slides"]
    source = source_class("slides")(tmp_path, **proposal.options)
    index = source.index()
    assert list(index["split"]) == [""] * 8 + ["submit"] * 2
    for row in index[index["split"] == ""].to_dict("records"):
        np.testing.assert_array_equal(source.read_mask(row)[0], masks[row["patient_id"]])


def test_slides_and_masks_of_the_same_names_need_no_table(tmp_path):
    masks = {}
    for number in range(6):
        masks[f"s{number}"] = slide(tmp_path / f"images/s{number}.tif", number)
        (tmp_path / "masks").mkdir(exist_ok=True)
        tifffile.imwrite(tmp_path / f"masks/s{number}.tif", masks[f"s{number}"], tile=(64, 64))
    proposal = proposed(tmp_path)
    assert proposal.source == "slides"
    source = source_class("slides")(tmp_path, **proposal.options)
    rows = source.index().to_dict("records")
    assert [row["patient_id"] for row in rows] == list(masks)
    assert source.tables() == []
    for row in rows:
        np.testing.assert_array_equal(source.read_mask(row)[0], masks[row["patient_id"]])


def test_small_images_of_one_resolution_are_read_whole(tmp_path):
    hubmap_kidney(tmp_path, levels=1)
    assert proposed(tmp_path).source == "table"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"path": "slides/{id}.tif", "mask": "masks/{id}.tif"}, r"holds no file of the form slides/\{id\}.tif"),
        (
            {"path": "train/{name}.tiff", "file": "train.csv"},
            r"'train/\{name\}.tiff' must name \{id\}, and nothing else",
        ),
        ({"file": "train.csv"}, "rename the columns, or name them in source_options id and path"),
        ({"path": "test/{id}.tiff", "file": "train.csv", "mask": "encoding"}, r"row 2: the file 'test/2f6ecfcdf.tiff'"),
    ],
)
def test_options_that_name_no_file_are_refused(tmp_path, options, message):
    hubmap_kidney(tmp_path)
    with pytest.raises(UserError, match=message):
        source_class("slides")(tmp_path, **options).index()


def test_from_the_folder_to_a_submission(tmp_path, monkeypatch, home):
    import exps

    (tmp_path / "exps").mkdir()
    monkeypatch.setenv("HELDOUT_PROJECT", str(tmp_path))
    monkeypatch.setattr(exps, "__path__", [*exps.__path__, str(tmp_path / "exps")])
    monkeypatch.delenv("HELDOUT_DATA", raising=False)
    hubmap_kidney(home / "input" / "kidney")
    fast = ["epochs=1", "fold_count=2", "test_fraction=0", "workers=0", "steps_per_epoch=1", "encoder_weights=None"]
    assert run(["init", "kidney", "--yes", "--name", "exp990"]) == 0
    assert run(["exp990", *(word for one in fast for word in ("--set", one))]) == 0
    spec = next((home / "working" / "runs").iterdir()).name
    for command in (["blend", spec, "--name", "all"], ["freeze", "all"], ["submit", "all"]):
        assert run(command) == 0
    with (home / "submissions" / "all.csv").open() as written:
        found = list(csv.reader(written))
    assert [row[0] for row in found] == ["id", *(f"{0x2F6ECFCDF + 97 * number:09x}" for number in (8, 9))]
    assert run(["check-submission", "all", str(home / "submissions" / "all.csv")]) == 0
    sys.modules.pop("exps.exp990", None)
