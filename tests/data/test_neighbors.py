"""Slices with those beside them as channels: their order, series and edges, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

from heldout.data.image import Image
from heldout.data.sources import source_class
from heldout.data.sources.source import Source
from heldout.errors import UserError


def _slices(root: Path, names: dict[str, int]) -> None:
    """Gray images, each of one value."""
    for name, value in names.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Picture.fromarray(np.full((4, 5), value, np.uint8)).save(path)


def _stacks(source: Source) -> dict[str, list[int]]:
    """The value of every channel, by case."""

    def values(image: Image) -> list[int]:
        return [int(channel.max()) for channel in image.array]

    return {row["case_id"]: values(source.read_image(row)) for row in source.index().to_dict("records")}


def _folders(root: Path, image: str, **options: object) -> Source:
    return source_class("folders")(root, image=image, **options)


def test_channels_are_the_slice_then_those_before_and_after_it_by_number(tmp_path: Path) -> None:
    _slices(tmp_path, {f"images/a/{number}.png": number for number in (1, 2, 3, 10, 11)})
    _slices(tmp_path, {f"images/b/{number}.png": 100 + number for number in (1, 2)})
    found = _stacks(_folders(tmp_path, "{class}/{patient}/{id}.png", neighbors=2))
    by_first = {values[0]: values for values in found.values()}
    assert by_first[3] == [3, 2, 10, 1, 11]  # an absent slice is skipped
    assert by_first[1] == [1, 1, 2, 1, 3]
    assert by_first[11] == [11, 10, 11, 3, 11]
    assert by_first[101] == [101, 101, 102, 101, 102]  # no slice of another patient


def test_series_of_one_folder_are_told_apart_by_patient_and_by_the_number_that_changes(tmp_path: Path) -> None:
    names = {
        f"images/p1_day{day}_slice_{number:02d}_266_1.50.png": 10 * day + number for day in (0, 5) for number in (8, 9)
    }
    _slices(tmp_path, names | {"images/p2_day0_slice_09_266_1.50.png": 99})
    found = _stacks(_folders(tmp_path, "{class}/{patient}_{id}.png", neighbors=1))
    assert sorted(found.values()) == [[8, 8, 9], [9, 8, 9], [58, 58, 59], [59, 58, 59], [99, 99, 99]]


def test_new_files_get_their_neighbors_too_and_keep_their_names(tmp_path: Path) -> None:
    _slices(tmp_path / "new", {f"scan_{number}.png": number for number in (9, 10, 11)})
    source = _folders(tmp_path, "{class}/{patient}/{id}.png", neighbors=1)
    rows = source.loose(tmp_path / "new").to_dict("records")
    assert [row["name"] for row in rows] == ["scan_9.png", "scan_10.png", "scan_11.png"]
    assert [int(source.read_image(row).array[2].max()) for row in rows] == [10, 11, 11]


def test_slices_without_a_patient_are_refused_as_their_neighbors_may_be_in_another_fold(tmp_path: Path) -> None:
    _slices(tmp_path, {f"images/{number}.png": number for number in (1, 2, 3)})
    with pytest.raises(UserError, match=r"neighbors = 1: no slice of .* has another beside it.*name the patient"):
        _folders(tmp_path, "{class}/{id}.png", neighbors=1).index()


def test_a_slice_alone_is_refused_and_its_series_asked_for(tmp_path: Path) -> None:
    _slices(tmp_path / "new", {"scan_9.png": 9})
    with pytest.raises(UserError, match=r"no slice of .*new has another beside it.*add the slices of its series"):
        _folders(tmp_path, "{class}/{patient}/{id}.png", neighbors=1).loose(tmp_path / "new")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"neighbors": -1}, "neighbors = -1: name the slices on each side"),
        ({"neighbors": 1, "dimensions": 3}, "is for slices in files of their own"),
    ],
)
def test_values_that_mean_nothing_are_refused(tmp_path: Path, options: dict[str, object], words: str) -> None:
    _slices(tmp_path, {"images/a/1.png": 1})
    with pytest.raises(UserError, match=words):
        _folders(tmp_path, "{class}/{patient}/{id}.png", **options).index()
