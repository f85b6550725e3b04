"""Damaged bytes of every format and every file of a checked dataset: one sentence, never another error."""

from __future__ import annotations

import io
import json
import os
import shutil

import nibabel
import numpy as np
import pytest
from PIL import Image as Pillow

from heldout.data import cases as room
from heldout.data import readers
from heldout.data.prepare import open_prepared
from heldout.errors import UserError
from tests.data import toy

COUNT = int(os.environ.get("HELDOUT_FUZZ", "100"))  # inputs of each kind; `make bench` asks for more


def mutated(raw: bytes, rng: np.random.Generator) -> bytes:
    """A copy with some bytes changed, cut out, doubled or set to ones, or cut off."""
    out = bytearray(raw)
    for _ in range(rng.integers(1, 5)):
        if not out:
            break
        edge = len(out) if rng.random() < 0.5 else min(len(out), 400)  # headers more often than not
        place, length, way = int(rng.integers(edge)), int(rng.integers(1, 9)), rng.integers(6)
        if way == 0:
            out[place] ^= 1 << int(rng.integers(8))
        elif way == 1:
            out[place : place + length] = rng.bytes(length)
        elif way == 2:
            del out[place : place + length]
        elif way == 3:
            out[place:place] = out[place : place + length]
        elif way == 4:
            out[place : place + length] = b"\xff" * length
        else:
            del out[place:]
    return bytes(out)


def complaint_of(action, *arguments) -> str:
    """What a user is told; "" where it works."""
    try:
        action(*arguments)
    except UserError as error:
        return str(error)
    return ""


def encoded(kind: str) -> bytes:
    rng = np.random.default_rng(0)
    buffer = io.BytesIO()
    if kind in ("png", "palette", "jpeg", "progressive", "tiff", "float"):
        values = rng.integers(0, 255, (40, 33, 3)).astype(np.uint8)
        picture = Pillow.fromarray(values)
        if kind == "palette":
            picture = picture.quantize(8)
        if kind == "float":
            picture = Pillow.fromarray(values[..., 0].astype(np.float32))
        form = {"palette": "png", "progressive": "jpeg", "float": "tiff"}.get(kind, kind)
        picture.save(buffer, form, **({"progressive": True} if kind == "progressive" else {}))
        return buffer.getvalue()
    if kind == "npz":
        np.savez_compressed(buffer, x=rng.integers(0, 9, (3, 5, 6, 4)).astype(np.uint8))
        return buffer.getvalue()
    volume = nibabel.Nifti1Image(rng.integers(0, 255, (9, 8, 7)).astype(np.int16), np.diag([2.0, 2, 3, 1]))
    raw = volume.to_bytes()
    if kind == "nifti":
        return raw
    import gzip

    return gzip.compress(raw)


@pytest.mark.parametrize("kind", ["png", "palette", "jpeg", "progressive", "tiff", "float", "npz", "nifti", "gzip"])
def test_damaged_files_are_read_or_refused_in_one_sentence(tmp_path, kind):
    raw, path = encoded(kind), tmp_path / "odd.npz"
    place = f"{path}#x:1" if kind == "npz" else path
    refused = 0
    for number in range(COUNT):
        path.write_bytes(mutated(raw, np.random.default_rng([1, number])))
        for read in (readers.open_any, readers.open_mask):
            complaint = complaint_of(read, place)
            refused += bool(complaint)
            assert not complaint or "odd.npz" in complaint
            assert "\n" not in complaint
    assert refused > COUNT // 10


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A checked dataset with prepared arrays, in a home of its own; read-only by agreement."""
    place = tmp_path_factory.mktemp("fuzz")
    with pytest.MonkeyPatch.context() as patch:
        toy.segmentation_toy(toy.install(patch, place))
        config = toy.toy_config()
        dataset = room.index_dataset(config, progress=False)
        open_prepared(dataset, config, ("train", "test"), progress=False, workers=1)
    return place


NAMES = (
    *("index.json", "leaks.json", "folds.csv", "raw_files.csv", "skipped.csv", "cases.parquet", "sealed.parquet"),
    "prepared/*/manifest.json",
)


@pytest.mark.parametrize("name", NAMES)
def test_damaged_files_of_a_checked_dataset_are_refused_in_one_sentence(made, tmp_path, monkeypatch, name):
    shutil.copytree(made, tmp_path / "copy", copy_function=shutil.copy2)
    toy.install(monkeypatch, tmp_path / "copy")
    config = toy.toy_config()
    (path,) = (tmp_path / "copy/home/working/data").glob(f"*/{name}")
    raw = path.read_bytes()
    odd = [b"", b"[" * 100_000, b"null", b"[]", b"{}", b'"a"', b"\x00" * 40, b"\xff\xfe\x00"]
    odd += [json.dumps({**json.loads(raw), "schema": 9}).encode()] if path.suffix == ".json" else []
    odd += [mutated(raw, np.random.default_rng([2, number])) for number in range(COUNT)]
    for data in odd:
        path.write_bytes(data)
        complaint = complaint_of(use, config)
        assert not complaint or str(tmp_path) in complaint
        assert "\n" not in complaint, complaint


def use(config):
    """Everything that a command reads of a checked dataset."""
    dataset = room.open_dataset(config)
    room.leak_report(dataset)
    open_prepared(dataset, config, progress=False, workers=1)
    room.open_sealed(dataset)
