import shutil
from collections import Counter

import numpy as np
import pytest

from heldout.data import cases as room
from heldout.data.foreground import sample_foreground
from heldout.data.prepare import open_prepared, prepared_folder, to_float
from heldout.data.recipe import Recipe
from heldout.errors import UserError
from tests.data import toy


@pytest.fixture
def dataset(tmp_path, monkeypatch):
    toy.segmentation_toy(toy.install(monkeypatch, tmp_path))
    return room.index_dataset(toy.toy_config(), progress=False)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in (".npy", ".json")}


def test_images_masks_and_foreground_fit_together(dataset):
    prepared = open_prepared(dataset, toy.toy_config(), progress=False)
    for row in dataset.part("train").itertuples():
        image, mask = prepared.image(row.case_id), prepared.mask(row.case_id)
        assert image.shape == mask.shape == (1, 16, 16)
        assert image.dtype == mask.dtype == np.uint8
        assert 0 <= to_float(image).min() <= to_float(image).max() <= 1
        foreground = prepared.foreground(row.case_id)
        assert foreground.dtype == np.int32
        assert len(foreground) == mask.sum()
        assert mask.any() == bool(row.y_lesion)
        assert all(mask[0][tuple(position)] == 1 for _, *position in foreground)
        assert prepared.geometry(row.case_id).original == (24, 20)


def test_masks_of_the_test_part_are_never_prepared(dataset):
    prepared = open_prepared(dataset, toy.toy_config(), ("train", "test"), progress=False)
    case_id = dataset.part("test")["case_id"][0]
    assert prepared.image(case_id).shape == (1, 16, 16)
    with pytest.raises(UserError, match="no prepared mask"):
        prepared.mask(case_id)
    with pytest.raises(UserError, match="no prepared mask"):
        prepared.foreground(case_id)
    names = {path.name for path in prepared.folder.iterdir()}
    assert not any(f"{name}.mask.npy" in names for name in dataset.part("test")["case_id"])


def test_the_result_does_not_depend_on_the_number_of_processes(dataset):
    alone = open_prepared(dataset, toy.toy_config(), progress=False, workers=1)
    expected = contents(alone.folder)
    shutil.rmtree(alone.folder)
    several = open_prepared(dataset, toy.toy_config(), progress=False, workers=2)
    assert contents(several.folder) == expected


def test_a_second_call_does_nothing_and_a_lost_file_is_made_again(dataset):
    prepared = open_prepared(dataset, toy.toy_config(), progress=False)
    times = {path.name: path.stat().st_mtime_ns for path in prepared.folder.iterdir()}
    open_prepared(dataset, toy.toy_config(), progress=False)
    assert times == {path.name: path.stat().st_mtime_ns for path in prepared.folder.iterdir()}
    expected = contents(prepared.folder)
    lost = dataset.part("train")["case_id"][0]
    (prepared.folder / f"{lost}.image.npy").unlink()
    again = open_prepared(dataset, toy.toy_config(), progress=False)
    assert contents(again.folder) == expected


@pytest.fixture
def readings(monkeypatch):
    """How often each raw file was read."""
    counts = Counter()
    for name in ("read_image", "read_mask"):
        original = getattr(toy.Toy, name)

        def counted(self, row, original=original, name=name, **options):
            counts[row[name.removeprefix("read_")]] += 1
            return original(self, row, **options)

        monkeypatch.setattr(toy.Toy, name, counted)
    return counts


def test_a_raw_file_is_read_once_on_its_way_to_the_prepared_array(tmp_path, monkeypatch, readings):
    toy.segmentation_toy(toy.install(monkeypatch, tmp_path))
    dataset = room.open_dataset(toy.toy_config())
    prepared = open_prepared(dataset, toy.toy_config(), progress=False)
    assert set(prepared.entries) == set(dataset.part("train")["case_id"])
    assert len(readings) == 2 * len(dataset.cases)
    assert set(readings.values()) == {1}


def test_arrays_made_while_checking_equal_those_made_later(dataset):
    expected = contents(open_prepared(dataset, toy.toy_config(), progress=False).folder)
    shutil.rmtree(dataset.folder / "prepared")
    assert contents(open_prepared(dataset, toy.toy_config(), progress=False).folder) == expected


def test_checking_leaves_no_mask_of_the_test_part_and_nothing_where_it_fails(dataset):
    folder = prepared_folder(dataset.folder, Recipe.of(toy.toy_config()))
    train = set(dataset.part("train")["case_id"])
    assert {path.name.split(".")[0] for path in folder.glob("*.npy")} == train
    (dataset.source.root / f"{min(train)}.image.npy").write_bytes(b"")
    with pytest.raises(UserError, match="cannot be read"):
        room.index_dataset(toy.toy_config(), progress=False)
    assert not contents(folder)


def test_settings_that_do_not_fit_are_no_fault_of_the_dataset(tmp_path, monkeypatch):
    toy.segmentation_toy(toy.install(monkeypatch, tmp_path))
    config = toy.toy_config(image_size=(8, 8, 8))
    dataset = room.index_dataset(config, progress=False)
    assert len(dataset.cases) == 24
    with pytest.raises(UserError, match=r"case p\d\d_0.*image_size"):
        open_prepared(dataset, config, progress=False)


def test_parts_are_added_to_what_is_there(dataset):
    train = open_prepared(dataset, toy.toy_config(), progress=False)
    test = open_prepared(dataset, toy.toy_config(), ("test",), progress=False)
    assert test.folder == train.folder
    assert set(test.entries) == set(dataset.part("test")["case_id"])
    both = open_prepared(dataset, toy.toy_config(), ("train", "test"), progress=False)
    assert set(both.entries) == set(dataset.cases["case_id"])
    with pytest.raises(UserError, match="was not prepared"):
        train.image(dataset.part("test")["case_id"][0])


def test_an_interrupted_preparation_is_taken_up_again(dataset, monkeypatch):
    from heldout.data import prepare

    monkeypatch.setattr(prepare, "SECONDS_BETWEEN_SAVES", -1.0)
    broken = dataset.part("train")["case_id"].iloc[-1]
    path = dataset.source.root / f"{broken}.image.npy"
    good = path.read_bytes()
    path.write_bytes(b"")
    config = toy.toy_config(image_size=(8, 8))  # other settings than those that the dataset was checked with
    with pytest.raises(EOFError):
        open_prepared(dataset, config, progress=False)
    folder = prepared_folder(dataset.folder, Recipe.of(config))
    first = dataset.part("train")["case_id"][0]
    done = (folder / f"{first}.image.npy").stat().st_mtime_ns
    path.write_bytes(good)
    open_prepared(dataset, config, progress=False)
    assert (folder / f"{first}.image.npy").stat().st_mtime_ns == done


def test_settings_that_do_not_fit_name_the_case_and_the_field(dataset):
    with pytest.raises(UserError, match=r"case p\d\d_0.*image_size"):
        open_prepared(dataset, toy.toy_config(image_size=(8, 8, 8)), progress=False)


def test_foreground_is_shared_between_the_classes():
    mask = np.zeros((1, 60, 60), np.uint8)
    mask[0, :40] = 1
    mask[0, 50, :5] = 2
    points = sample_foreground(mask, "a")
    assert len(points) == 1000
    assert (points[:, 0] == 1).sum() == 5
    assert all(mask[0, y, x] == number + 1 for number, y, x in points)
    channels = np.stack([mask[0] > 0, mask[0] == 2]).astype(np.uint8)
    points = sample_foreground(channels, "a")
    assert all(channels[number, y, x] for number, y, x in points)
    np.testing.assert_array_equal(points, sample_foreground(channels, "a"))
