"""Hard negatives come from a fold's own training part, are on record, and survive being killed."""

from __future__ import annotations

import csv
import math
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from heldout import files
from heldout.data.cases import open_dataset
from heldout.data.geometry import Geometry
from heldout.data.prepare import open_prepared
from heldout.errors import UserError
from heldout.predict.prediction import Prediction, presence
from heldout.tasks.classify import Classify2D
from heldout.tasks.segment import Segment3D
from heldout.train import runs
from heldout.train.display import Display
from heldout.train.fit import fit_fold
from heldout.train.hard_negatives import Miner, read_hard_negatives
from heldout.train.loader import Batches, HardNegative
from heldout.train.sampling import draw_cases
from tests.data import toy
from tests.train.exp901 import Exp901

HARD = {"hard_negative_fraction": 0.5, "mine_every": 1, "hard_negative_quantile": 0.5}


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def fit(fold: int = 0, seed: int = 0, **overrides) -> Path:
    config = Exp901.create(overrides={**HARD, **overrides})
    return fit_fold(config, open_dataset(config), fold, seed, quiet=True)


def choices(folder: Path) -> pd.DataFrame:
    """All choices of a run."""
    paths = sorted((folder / "hard_negatives").glob("*.csv"))
    return pd.concat([pd.read_csv(path, dtype={"case_id": str, "focus": str}) for path in paths])


@pytest.mark.parametrize("fold", [0, 1])
@pytest.mark.parametrize("seed", [0, 1])
def test_no_held_out_case_is_ever_scored(squares, fold, seed):
    folder = fit(fold, seed, epochs=6, mine_cases=2)
    dataset = open_dataset(Exp901())
    training, held_out = dataset.fold_cases(fold)
    rows = choices(folder)
    assert set(rows["epoch"]) == {1, 2, 3, 4, 5}, "after every epoch but the last"
    assert not set(rows["case_id"]) & set(held_out["case_id"])
    assert set(rows["case_id"]) <= set(training["case_id"][training["y_lesion"] == 0])
    assert rows.groupby("epoch").size().tolist() == [2] * 5
    assert rows.groupby("epoch")["hard"].sum().tolist() == [1] * 5
    assert rows["case_id"].nunique() > 2, "every choice draws its own cases to score"
    assert (rows[rows["hard"] == 1].groupby("epoch")["score"].min() >= rows.groupby("epoch")["score"].median()).all()


def test_the_record_names_every_choice(squares):
    folder = fit(epochs=3)
    record = runs.read_run(folder).to_json()["hard_negatives"]
    assert [choice["epoch"] for choice in record] == [1, 2]
    for choice in record:
        assert choice["sha256"] == files.sha256_file(folder / choice["file"])
        assert 0 < choice["hard"] <= choice["scored"]
    assert runs.read_run(fit(epochs=3, hard_negative_fraction=0.0)).hard_negatives is None


def test_the_choice_changes_what_is_learned(squares):
    with_them, without = fit(epochs=3), fit(epochs=3, hard_negative_fraction=0.0)
    hashes = [files.sha256_file(folder / "weights.safetensors") for folder in (with_them, without)]
    assert hashes[0] != hashes[1]


class Killed(BaseException):
    """Stands for the end of the process, which no code gets to handle."""


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("function", "call"),
    [
        ("heldout.train.checkpoint.save", 2),  # the choice is on the disk, the state that knows of it is not
        ("heldout.train.history.write_metrics", 3),  # both are
        ("heldout.predict.run._finish", 3),  # in the middle of scoring
    ],
)
def test_a_stopped_run_ends_as_if_it_had_not_been(squares, monkeypatch, function, call, workers):
    def state(folder: Path) -> list[str]:
        names = ["weights.safetensors", "oof.parquet", *(f"hard_negatives/epoch00{n}.csv" for n in (1, 2, 3))]
        return [files.sha256_file(folder / name) for name in names]

    expected = state(fit(workers=workers))
    shutil.rmtree(squares / "working" / "runs")
    module, _, name = function.rpartition(".")
    original, calls = getattr(sys.modules[module], name), []

    def stop(*arguments, **keywords):
        calls.append(1)
        if len(calls) == call:
            raise Killed
        return original(*arguments, **keywords)

    with monkeypatch.context() as patch:
        patch.setattr(function, stop)
        with pytest.raises(Killed):
            fit(workers=workers)
    assert state(fit(workers=workers)) == expected


def test_a_changed_choice_is_refused(squares, monkeypatch):
    def stop(*_):
        raise Killed

    monkeypatch.setattr("heldout.train.fit.write_results", stop)
    with monkeypatch.context() as patch:
        patch.setattr("heldout.train.history.write_metrics", stop)
        with pytest.raises(Killed):
            fit()
    folder = runs.fit_folder(Exp901.create(overrides=HARD).spec, 0, 0)
    path = folder / "hard_negatives" / "epoch001.csv"
    path.write_text(path.read_text().replace(",1,", ",0,", 1))
    with pytest.raises(UserError, match=r"epoch001\.csv is missing or was changed during training: restore"):
        fit()


@given(
    positive=st.lists(st.booleans(), min_size=2, max_size=30).filter(lambda kinds: 0 < sum(kinds) < len(kinds)),
    count=st.integers(1, 60),
    share=st.floats(0.05, 0.95),
    hard=st.integers(1, 8),
    hard_share=st.floats(0, 1),
    seed=st.integers(0, 100),
)
def test_hard_negatives_get_their_share_of_the_negatives(positive, count, share, hard, hard_share, seed):
    kinds = np.array(positive)
    drawn = draw_cases(kinds, count, share, np.random.default_rng(seed), hard, hard_share)
    ordinary = drawn[drawn < len(kinds)]
    plain = draw_cases(kinds, count, share, np.random.default_rng(seed))
    assert len(drawn) == count
    assert kinds[ordinary].sum() == kinds[plain].sum(), "positives lose nothing to them"
    negatives = count - kinds[ordinary].sum()
    assert abs((drawn >= len(kinds)).sum() - hard_share * negatives) < 1
    assert drawn.max() < len(kinds) + hard
    counts = np.bincount(drawn[drawn >= len(kinds)] - len(kinds), minlength=hard)
    assert counts.max() - counts.min() <= 1, "each as often as the others"


def test_a_hard_patch_shows_the_false_alarm(squares):
    config = Exp901.create(overrides={**HARD, "hard_negative_fraction": 1.0, "patch_size": (8, 8), "augment": "none"})
    dataset = open_dataset(config)
    prepared, cases = open_prepared(dataset, config, progress=False), dataset.fold_cases(0)[0]
    batches = Batches(config, dataset, prepared, cases, (0, 0))
    index = int(np.flatnonzero(batches.labels[:, 0] == 0)[0])
    image = np.array(prepared.image(batches.case_ids[index]))
    corner = image[0, 24:, 24:]
    shown = []
    for number in range(4):
        for batch in batches.epoch(number, [HardNegative(index, (31, 31))]):
            negatives = batch["image"][batch["label"][:, 0] == 0]
            shown += [np.rint(255 * patch[0].numpy()).astype(np.uint8) for patch in negatives]
    assert shown
    assert all(np.array_equal(patch, corner) for patch in shown)


class OneVoxel(torch.nn.Module):
    """Sees a lesion wherever a voxel is white."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(20.0))

    def forward(self, image):
        return {"mask": self.scale * (image[:, :1] - 0.9)}


def miner(config, dataset, fold=0) -> Miner:
    training, _ = dataset.fold_cases(fold)
    prepared = open_prepared(dataset, config, progress=False)
    return Miner(config, prepared, training, dataset.classes, dataset.exclusive, torch.device("cpu"), (0, fold))


@pytest.mark.parametrize("image_size", [None, (48, 40)])
def test_the_focus_is_where_the_network_is_wrong(squares, image_size, tmp_path):
    """With and without padding around the case."""
    config = Exp901.create(overrides={**HARD, "image_size": image_size, "patch_size": (24, 24)})
    raw = squares.parent / "raw" / "squares"
    for number in range(0, 24, 3):
        array = np.load(raw / f"c{number:03d}.image.npy")
        array[0, 5:9, 20:24] = 255
        np.save(raw / f"c{number:03d}.image.npy", array)
    dataset = open_dataset(config)
    chosen = miner(config, dataset)
    record = chosen.mine(OneVoxel(), 1, tmp_path, Display("test", 1, 1, 0, quiet=True))
    case_ids = np.array(chosen.cases["case_id"].to_list())
    found = read_hard_negatives(tmp_path, record, case_ids)
    assert len(found) == record.hard == math.ceil(record.scored / 2)
    for index, focus in found:
        assert chosen.prepared.image(case_ids[index])[0][focus] > 200


def test_nothing_negative_to_choose_from_is_said(squares, tmp_path):
    config = Exp901.create(overrides=HARD)
    dataset = open_dataset(config)
    chosen = miner(config, dataset)
    chosen.cases["y_lesion"] = 1.0
    with pytest.raises(UserError, match="hard_negative_fraction needs negative training cases, but all are positive"):
        chosen.mine(OneVoxel(), 1, tmp_path, Display("test", 1, 1, 0, quiet=True))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"positive_fraction": None}, "hard_negative_fraction needs positive_fraction"),
        ({"epochs": 4, "mine_every": 4}, "mine_every = 4 comes too late for epochs = 4: lower it"),
    ],
)
def test_fields_that_contradict_hard_negatives(fields, message):
    with pytest.raises(UserError, match=message):
        Exp901.create(overrides={**HARD, **fields})


class Whole2D(Classify2D):
    dataset = "volumes"
    source = "toy"
    source_options = {"kind": "classification"}
    test_fraction = 0.2
    fold_count = 2
    near_duplicates = False
    image_size = (32, 32)
    encoder = "resnet10t"
    positive_fraction = 0.5
    hard_negative_fraction = 0.5
    mine_every = 1
    epochs = 2
    batch_size = 4
    workers = 0


class Lesion3D(Segment3D):
    dataset = "volumes"
    source = "toy"
    source_options = {"dimensions": 3}
    test_fraction = 0.2
    fold_count = 2
    near_duplicates = False
    patch_size = (16, 16, 16)
    filters = (4, 8, 8)
    positive_fraction = 0.5
    hard_negative_fraction = 0.5
    mine_every = 1
    epochs = 2
    batch_size = 2
    workers = 0


@pytest.mark.parametrize("task", [Whole2D, Lesion3D])
def test_classification_and_volumes(monkeypatch, tmp_path, task):
    folder = toy.install(monkeypatch, tmp_path).with_name("volumes")
    size = (32, 32) if task is Whole2D else (16, 20, 16)
    rows, images, masks = [], {}, {}
    for number in range(16):
        case_id = f"v{number:02d}"
        rows.append({"case_id": case_id, "patient_id": case_id, "y_lesion": number % 2})
        images[case_id] = toy.textured(number, (1, *size))
        masks[case_id] = np.zeros_like(images[case_id])
        masks[case_id][0, 2:9, 2:9] = number % 2
    toy.write_toy(folder, rows, images, masks if task is Lesion3D else {})
    config = task()
    folder = fit_fold(config, open_dataset(config), 0, 0, quiet=True)
    with open(folder / "hard_negatives" / "epoch001.csv", encoding="utf-8") as handle:
        for row in csv.DictReader(handle):
            assert len(row["focus"].split()) == (0 if task is Whole2D else 3)


def test_ignored_voxels_are_no_hard_negatives(tmp_path):
    geometry = Geometry((8, 8), (0, 0), (8, 8), (0, 1), (False, False), (0, 0), (8, 8), (8, 8), (2, 2), (12, 12))
    mask = np.zeros((1, 12, 12), np.uint8)
    mask[0, 2:6, 2:10] = 255
    prepared = SimpleNamespace(geometry=lambda _: geometry, mask=lambda _: mask)
    miner = Miner(Exp901(), prepared, None, ("lesion",), True, torch.device("cpu"), (0, 0))
    found = np.full((1, 8, 8), 9, np.uint8)
    found[0, :4], found[0, 6, 5] = 255, 80
    known = miner._known(Prediction("a", presence(found), found))
    assert miner._focus(known) == (8, 7)
    assert known.scores[0] < 0.2 < presence(found)[0]
