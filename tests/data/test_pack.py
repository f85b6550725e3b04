"""A dataset in one file: what comes out is what went in, or is refused."""

from __future__ import annotations

import io
import json
import os
import shutil
import tracemalloc
import zipfile
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from heldout.data import cases as room
from heldout.data.pack.codec import decode, encode
from heldout.data.pack.read import unpack
from heldout.data.pack.write import pack
from heldout.data.prepare import open_prepared
from heldout.data.records import PackedArray
from heldout.errors import UserError
from heldout.records import parse_value
from tests.data import toy


@pytest.fixture
def packed(tmp_path, monkeypatch):
    """A packed dataset, and its home; the home in use is another one, without raw data."""
    toy.segmentation_toy(toy.install(monkeypatch, tmp_path))
    config = toy.toy_config()
    room.index_dataset(config, progress=False)
    path = tmp_path / "toys.pack"
    pack([config], path, progress=False, workers=1)
    monkeypatch.setenv("HELDOUT_HOME", str(tmp_path / "away"))
    monkeypatch.delenv("HELDOUT_DATA")
    return path, tmp_path / "home" / "working" / "data"


def unpacked(path):
    return unpack(path, progress=False, workers=1)


def rewrite(path, compress=zipfile.ZIP_STORED, **changes):
    """Replace members of the archive, as a damaged or doctored copy would have it."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    for name, change in changes.items():
        key = next(member for member in members if name in member)
        members[key] = change(members[key])
    with zipfile.ZipFile(path, "w", compress) as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def test_arrays_tables_and_masks_come_out_as_they_went_in(packed):
    path, before = packed
    folder = unpacked(path).folder
    original = before / folder.name
    for name in ("cases.parquet", "folds.csv", "sealed.parquet", "index.json"):
        assert (folder / name).read_bytes() == (original / name).read_bytes()
    prepared = next((folder / "prepared").iterdir())
    names = {entry.name for entry in (original / "prepared" / prepared.name).iterdir() if entry.suffix == ".npy"}
    assert names == {entry.name for entry in prepared.iterdir() if entry.suffix == ".npy"}
    assert all((prepared / n).read_bytes() == (original / "prepared" / prepared.name / n).read_bytes() for n in names)


def test_the_dataset_opens_without_its_raw_files_and_knows_the_truth(packed, monkeypatch):
    path, before = packed
    unpacked(path)
    dataset = room.open_dataset(toy.toy_config())
    monkeypatch.setenv("HELDOUT_HOME", str(before.parents[1]))
    monkeypatch.setenv("HELDOUT_DATA", str(path.parent / "raw"))
    original = room.open_dataset(toy.toy_config())
    assert (dataset.data_hash, dataset.fold_hash) == (original.data_hash, original.fold_hash)
    for case_id in original.part("train")["case_id"]:
        assert np.array_equal(dataset.truth(case_id), original.truth(case_id))


def test_the_truth_of_the_test_part_does_not_travel(packed):
    path, _ = packed
    unpacked(path)
    dataset = room.open_dataset(toy.toy_config())
    locked = dataset.part("test")["case_id"][0]
    with pytest.raises(UserError, match="without a mask"):
        room.open_sealed(dataset).truth(locked)
    assert not any(locked in name for name in zipfile.ZipFile(path).namelist())


def test_a_second_unpacking_writes_nothing_and_mends_what_is_lost(packed):
    path, _ = packed
    folder = unpacked(path).folder
    times = {
        entry: entry.stat().st_mtime_ns for entry in folder.rglob("*") if entry.suffix in (".npy", ".json", ".mask")
    }
    lost = next(entry for entry in sorted(times) if entry.name.endswith("foreground.npy"))
    lost.unlink()
    unpacked(path)
    changed = {entry.name for entry, time in times.items() if entry.stat().st_mtime_ns != time}
    of_case = {lost.name.replace("foreground", kind) for kind in ("image", "mask", "foreground")}
    assert changed == of_case | {"manifest.json"}


def test_arrays_of_a_further_experiment_can_be_added(packed, monkeypatch):
    path, before = packed
    unpacked(path)
    monkeypatch.setenv("HELDOUT_HOME", str(before.parents[1]))
    monkeypatch.setenv("HELDOUT_DATA", str(path.parent / "raw"))
    small = toy.toy_config(image_size=(8, 8))
    pack([small], path, progress=False, workers=1)
    monkeypatch.setenv("HELDOUT_HOME", str(path.parent / "away"))
    monkeypatch.delenv("HELDOUT_DATA")
    unpacked(path)
    dataset = room.open_dataset(small)
    for config, side in ((small, 8), (toy.toy_config(), 16)):
        prepared = open_prepared(dataset, config, progress=False, workers=1)
        assert prepared.image(dataset.part("train")["case_id"][0]).shape == (1, side, side)


def test_settings_that_were_not_packed_are_refused_with_the_remedy(packed):
    path, _ = packed
    unpacked(path)
    config = toy.toy_config(image_size=(20, 20))
    with pytest.raises(UserError, match="without its raw image, and not with arrays of these settings: pack"):
        open_prepared(room.open_dataset(config), config, progress=False, workers=1)


def doctored_cases(data: bytes) -> bytes:
    import pandas as pd

    frame = pd.read_parquet(io.BytesIO(data))
    frame.loc[frame["split"] == "train", "y_lesion"] = 1.0
    return frame.to_parquet()


def other_mask(data: bytes) -> bytes:
    record = json.loads(data)
    for about in record["truth"].values():
        if about["codec"] == "empty":
            about["shape"] = [1, 20, 24]
    return json.dumps(record).encode()


def other_image(data: bytes) -> bytes:
    return encode(np.zeros((1, 16, 16), np.uint8))[0]


@pytest.mark.parametrize(
    ("member", "change", "message"),
    [
        ("cases.parquet", doctored_cases, "cases.parquet was changed: make the pack again"),
        ("pack.json", other_mask, "the mask of case .* is not the one that was checked"),
        ("prepared/", other_image, "the image of case .* is not the one that was packed"),
        ("pack.json", lambda data: data.replace(b'"schema":1', b'"schema":9'), "another version of heldout"),
        ("pack.json", lambda data: data.replace(b'"channels":1', b'"channels":2'), "another version of heldout"),
        ("pack.json", lambda data: data.replace(b'"folder":"toys', b'"folder":"../toys'), "its folder was changed"),
        ("pack.json", lambda data: data[:-9], "pack.json is not valid JSON .*: copy it again"),
    ],
)
def test_a_doctored_pack_is_refused_and_leaves_no_dataset(packed, member, change, message):
    path, _ = packed
    rewrite(path, **{member: change})
    with pytest.raises(UserError, match=f"toys.pack.*{message}"):
        unpacked(path)
    assert not list((path.parent / "away").rglob("index.json"))


@pytest.mark.parametrize("share", [0, 0.5, 0.99])
def test_a_cut_pack_is_refused(packed, share):
    path, _ = packed
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(UserError, match=r"toys.pack is damaged or not a pack .*: copy it again"):
        unpacked(path)


def test_a_damaged_record_of_an_unpacked_dataset_is_named(packed):
    path, _ = packed
    folder = unpacked(path).folder
    (folder / "packed.json").write_text("[]")
    with pytest.raises(UserError, match=r"packed.json is not a JSON object as heldout writes it: unpack the dataset"):
        unpacked(path)


def test_a_missing_pack_is_named(tmp_path, home):
    with pytest.raises(UserError, match=r"x.pack does not exist: name a file that `pack` wrote"):
        unpacked(tmp_path / "x.pack")


def test_other_folds_in_the_same_place_are_not_overwritten(packed):
    path, _ = packed
    folder = unpacked(path).folder
    index = json.loads((folder / "index.json").read_text())
    (folder / "index.json").write_text(json.dumps({**index, "fold_hash": "0"}))
    with pytest.raises(UserError, match=r"holds other cases or folds than .*fold_hash differs.*move it away first"):
        unpacked(path)


def test_a_changed_mask_is_noticed_when_the_dataset_is_opened(packed):
    path, _ = packed
    folder = unpacked(path).folder
    some = sorted((folder / "truth").iterdir())
    shutil.copy(some[0], folder / "truth" / "other")
    some[0].write_bytes(encode(np.ones((1, 24, 20), np.uint8))[0])
    with pytest.raises(UserError, match=rf"{some[0].name}.*is not the mask that was packed: unpack it again"):
        room.open_dataset(toy.toy_config())


def test_experiments_of_two_datasets_need_two_packs(tmp_path, monkeypatch):
    toy.segmentation_toy(toy.install(monkeypatch, tmp_path))
    with pytest.raises(UserError, match="have different cases or folds: pack the experiments of each dataset"):
        pack([toy.toy_config(), toy.toy_config(fold_count=2)], tmp_path / "x.pack", progress=False)
    assert not (tmp_path / "x.pack").exists()


def test_an_unpacked_dataset_is_not_packed_again(packed):
    path, _ = packed
    unpacked(path)
    with pytest.raises(UserError, match="was itself unpacked: copy the file"):
        pack([toy.toy_config()], path.with_name("y.pack"), progress=False)


@settings(max_examples=40, deadline=None)
@given(
    arrays.arrays(
        st.sampled_from([np.uint8, np.float16, np.int32]),
        arrays.array_shapes(min_dims=3, max_dims=4, max_side=9),
        elements=st.integers(0, 200),
    )
)
def test_every_array_survives_the_codec(array):
    data, about = encode(array)
    again = decode(data, parse_value(json.dumps(about.to_json()).encode(), "here", PackedArray, ""), "here")
    assert again.dtype == array.dtype
    assert np.array_equal(again, array)


def test_a_frame_that_claims_another_shape_is_refused():
    data, about = encode(np.zeros((1, 4, 4, 4), np.float16))
    with pytest.raises(UserError, match="image x is damaged"):
        decode(data, about.model_copy(update={"shape": (1, 4, 4, 5)}), "image x")


def test_a_device_is_no_pack():
    with pytest.raises(UserError, match="/dev/zero is not a regular file: name a file that `pack` wrote"):
        unpack(Path("/dev/zero"))
    with pytest.raises(UserError, match="--output /dev/full is not a regular file: name the file to write"):
        pack([], Path("/dev/full"))


def test_a_pack_is_the_same_to_the_last_byte_on_another_day(tmp_path, monkeypatch):
    toy.segmentation_toy(toy.install(monkeypatch, tmp_path))
    pack([toy.toy_config()], tmp_path / "a.pack", progress=False, workers=1)
    monkeypatch.setattr("time.time", lambda: 2e9)
    for table in (tmp_path / "home/working/data").rglob("*.*"):
        os.utime(table, (1e9, 1e9))
    pack([toy.toy_config()], tmp_path / "b.pack", progress=False, workers=2)
    assert (tmp_path / "a.pack").read_bytes() == (tmp_path / "b.pack").read_bytes()


def huge_mask(data: bytes) -> bytes:
    record = json.loads(data)
    for about in record["truth"].values():
        about["shape"] = [1, 300_000, 300_000]
    return json.dumps(record).encode()


def huge_grid(data: bytes) -> bytes:
    record = json.loads(data)
    for prepared in record["prepared"].values():
        for about in prepared["cases"].values():
            about["entry"]["geometry"]["resized"] = [300_000, 300_000]
    return json.dumps(record).encode()


@pytest.mark.parametrize(
    ("member", "change", "message"),
    [
        ("pack.json", huge_mask, r"mask p00_0 is damaged \(an array of \(1, 300000, 300000\)\)"),
        ("pack.json", huge_grid, "the image of case p00_0 is not of the grid that it names"),
        ("pack.json", lambda _: b"[" * 200_000, "pack.json is not valid JSON"),
        ("tables/leaks.json", lambda _: b" " * 2**29, "toys.pack claims to inflate to 5.. MiB, more than a pack does"),
        ("prepared/", lambda _: imagecodecs.jpegxl_encode(np.zeros((9000, 9000), np.uint8)), "image p00_0 is damaged"),
    ],
    ids=["a mask", "a grid", "nested JSON", "a table", "an image"],
)
def test_a_pack_that_claims_too_much_is_refused_before_memory_is_taken(packed, member, change, message):
    path, _ = packed
    rewrite(path, compress=zipfile.ZIP_DEFLATED, **{member: change})
    tracemalloc.start()
    with pytest.raises(UserError, match=message):
        unpacked(path)
    assert tracemalloc.get_traced_memory()[1] < 2**27
    tracemalloc.stop()
