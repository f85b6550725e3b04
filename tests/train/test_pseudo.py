"""Pseudo-labels of a fold come from the networks that held it out, and from cases that are no copy of its own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from heldout import files
from heldout.data.cases import open_dataset
from heldout.data.prepare import prepare_image
from heldout.data.sources import as_list
from heldout.errors import UserError
from heldout.predict.models import load_model
from heldout.predict.run import predict_cases
from heldout.predict.store import read_map
from heldout.records import read_json
from heldout.train import runs
from heldout.train.fit import fit_fold
from heldout.train.pseudo import write_pseudo_labels
from heldout.train.student import decide, find_pseudo_labels
from tests.train.exp901 import Exp901, write_squares

TEACHER = {"epochs": 2, "validate_every": 1}
CONFIDENCE = 0.5


@pytest.fixture
def unlabeled(squares):
    """Six more cases in the part ``submit``, of which the last copies a case of fold 0; both folds are trained."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    raw = squares.parent / "raw" / "squares"
    write_squares(raw, 30)
    table = pd.read_csv(raw / "index.csv", dtype=str, keep_default_na=False)
    table["split"] = ["train"] * 20 + ["test"] * 4 + ["submit"] * 6
    table.loc[24:, "mask"] = ""
    table.to_csv(raw / "index.csv", index=False)
    folds = open_dataset(Exp901()).folds
    np.save(raw / "c029.image.npy", np.load(raw / f"{folds.index[folds == 0][0]}.image.npy"))
    np.save(raw / "c028.image.npy", np.load(raw / "c020.image.npy"))
    for path in (squares / "working" / "data").glob("*/index.json"):
        path.unlink()
    for fold in (0, 1):
        fit(fold)
    yield squares
    torch.set_num_threads(threads)


def teacher(**overrides):
    return Exp901.create(overrides={**TEACHER, **overrides})


def fit(fold: int = 0, **overrides) -> Path:
    config = teacher(**overrides)
    return fit_fold(config, open_dataset(config), fold, 0, quiet=True)


def label(name: str = "extra", confidence: float = CONFIDENCE, folder: Path | None = None) -> Path:
    write_pseudo_labels(teacher(), name, folder, confidence, quiet=True)
    return files.home() / "working" / "pseudo" / name


def test_the_labels_of_a_fold_are_those_of_its_own_network(unlabeled):
    folder = label()
    config, dataset = teacher(), open_dataset(teacher())
    record = read_json(folder / "pseudo.json")
    assert set(record["folds"]) == {"0", "1"}
    row = dataset.row("c024")
    case = ("c024", *prepare_image(dataset.read_image("c024"), config))
    maps = {}
    for fold in (0, 1):
        weights = runs.fit_folder(config.spec, 0, fold) / "weights.safetensors"
        assert record["folds"][str(fold)]["fits"] == [{"seed": 0, "sha256": files.sha256_file(weights)}]
        model = load_model(config, weights, dataset.classes, dataset.exclusive)
        maps[fold] = next(predict_cases(config, [model], [case], exclusive=True))[0].map
        assert np.array_equal(read_map(folder / f"fold{fold}", "labels", row["case_id"]), maps[fold])
    assert not np.array_equal(maps[0], maps[1])


def test_copies_of_held_out_and_locked_cases_are_left_out(unlabeled):
    folder = label()
    used = [set(pd.read_parquet(folder / f"fold{fold}" / "cases.parquet")["case_id"]) for fold in (0, 1)]
    assert used == [{"c024", "c025", "c026", "c027"}, {"c024", "c025", "c026", "c027", "c029"}]


def test_copies_in_a_folder_are_left_out_too(unlabeled, monkeypatch, tmp_path):
    def rows(_, folder: Path):
        for path in sorted(folder.glob("*.npy")):
            yield {"case_id": path.stem, "patient_id": path.stem, "image": as_list(path), "name": path.name}

    monkeypatch.setattr("tests.data.toy.Toy._loose_rows", rows)
    loose = tmp_path / "loose"
    loose.mkdir()
    for name, case_id in (("new", "c024"), ("of_test", "c028"), ("of_fold_0", "c029")):
        shutil.copy(unlabeled.parent / "raw" / "squares" / f"{case_id}.image.npy", loose / f"{name}.npy")
    folder = label("loose", folder=loose)
    used = [set(pd.read_parquet(folder / f"fold{fold}" / "cases.parquet")["case_id"]) for fold in (0, 1)]
    assert used == [{"pseudo_new"}, {"pseudo_new", "pseudo_of_fold_0"}]
    assert runs.read_run(fit(1, pseudo_labels="loose", epochs=1)).pseudo_labels.cases <= 2


def test_a_student_learns_from_them_and_says_so(unlabeled):
    label()
    plain, student = fit(0), fit(0, pseudo_labels="extra", epochs=3)
    record = runs.read_run(student)
    pseudo = find_pseudo_labels(teacher(pseudo_labels="extra"), open_dataset(teacher()), 0)
    assert record.pseudo_labels.to_json() == {"name": "extra", "sha256": pseudo.sha256, "cases": len(pseudo.rows)}
    assert runs.read_run(plain).pseudo_labels is None
    held_out = open_dataset(teacher()).fold_cases(0)[1]
    assert sorted(pd.read_parquet(student / "oof.parquet")["case_id"]) == sorted(held_out["case_id"])
    assert not set(pseudo.rows["case_id"]) & set(held_out["case_id"])


def test_an_unknown_set_is_named(unlabeled):
    with pytest.raises(UserError, match=r"pseudo_labels = 'extra' do not exist: run `python run.py pseudo EXPERIMENT"):
        fit(0, pseudo_labels="extra")
    assert not runs.run_folder(teacher(pseudo_labels="extra").spec).exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("fold_hash", r"extra was made on other folds \(fold_hash differs\)"),
        ("data_hash", r"extra was made on other cases \(data_hash differs\)"),
        ("fold", r"extra has no labels for fold 0: train exp901"),
        ("weights", r"extra/fold0 was made with other weights than .*fold0/weights\.safetensors holds now"),
        ("labels", r"fold0/labels\.parquet is missing or was changed"),
        ("map", r"is not the file that was written"),
        (
            "folds",
            r"pseudo\.json has a missing or wrong folds: delete .*extra and run `python run",
        ),
        ("checkpoint", r"were chosen by each fold's own score"),
    ],
)
def test_what_does_not_belong_is_refused(unlabeled, change, message):
    folder = label()
    record = json.loads((folder / "pseudo.json").read_text())
    if change.endswith("hash"):
        record[change] = "0" * 64
    elif change == "checkpoint":
        record[change] = "best"
    elif change == "folds":
        record[change] = None
    elif change == "fold":
        del record["folds"]["0"]
    elif change == "weights":  # as if another fold's network had labeled this fold
        record["folds"]["0"]["fits"] = record["folds"]["1"]["fits"]
    else:
        path = folder / "fold0" / ("labels.parquet" if change == "labels" else "labels_maps/c024.b2nd")
        path.write_bytes(path.read_bytes() + b"?")
    files.write_json(folder / "pseudo.json", record)
    with pytest.raises(UserError, match=message):
        fit(0, pseudo_labels="extra")


def test_a_teacher_of_other_folds_is_refused(unlabeled):
    """New cases make new folds, of which yesterday's networks have seen the patients."""
    raw = unlabeled.parent / "raw" / "squares"
    write_squares(raw, 40)
    for path in (unlabeled / "working" / "data").glob("*/index.json"):
        path.unlink()
    with pytest.raises(UserError, match=r"exp901.*fold0 was trained on other (cases|folds) than those in"):
        label()


def test_a_set_is_not_overwritten(unlabeled):
    folder = label()
    with pytest.raises(UserError, match=rf"{folder} exists: choose another --name, or delete it"):
        label()


@pytest.mark.parametrize(
    ("scores", "mask", "exclusive", "expected"),
    [
        ([0.95], None, True, [1.0]),
        ([0.05], None, True, [0.0]),
        ([0.6], None, True, None),
        ([0.95, 0.2], None, False, None),
        ([0.95, 0.02], None, False, [1.0, 0.0]),
        ([0.05, 0.92, 0.03], None, True, [0.0, 1.0, 0.0]),
        ([0.5, 0.5], None, True, None),
        ([0.95], [[0, 1]], True, [1.0]),
        ([0.95], [[0, 0]], True, None),
        ([0.05], [[0, 0]], True, [0.0]),
        ([0.95, 0.95], [[0, 2, 1]], True, [1.0, 1.0]),
        ([0.95, 0.05], [[0, 2, 1]], True, None),
    ],
)
def test_only_sure_labels_are_used(scores, mask, exclusive, expected):
    array = None if mask is None else np.array(mask, np.uint8)
    assert decide(np.array(scores), array, 0.9, exclusive) == expected
