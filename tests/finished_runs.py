"""Finished runs without training: predictions made up from the labels, so that scores are known to be good or bad."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from heldout import files
from heldout.config import load
from heldout.data.cases import open_dataset
from heldout.predict.prediction import Prediction, presence
from heldout.predict.store import write_predictions
from heldout.train.history import EpochRow, write_metrics
from heldout.train.record import MadeFrom
from heldout.train.runs import begin_fit, fit_folder

TINY = "exp004+dataset=tiny,seeds=(0,1),source_options={'patients':70,'images_per_patient':1,'size':32}"


def finish_fit(spec: str, seed: int, fold: int, skill: float = 1.0) -> Path:
    """Write a finished fold of a classification whose scores are its labels times ``skill``, and noise."""
    config = load(spec)
    dataset = open_dataset(config)
    _, rows = dataset.fold_cases(fold)
    random = np.random.default_rng([seed, fold, round(skill * 100)])
    labels = rows[[f"y_{name}" for name in dataset.classes]].to_numpy(float)
    scores = 1 / (1 + np.exp(-(2 * labels - 1) * skill - random.normal(size=labels.shape)))
    folder = fit_folder(config.spec, seed, fold)
    begin_fit(config, dataset, folder, made_from=MadeFrom())
    predicted = [Prediction(case, row.astype(np.float32)) for case, row in zip(rows["case_id"], scores, strict=True)]
    stored = write_predictions(folder, "oof", predicted, rows.assign(fold=fold), exclusive=dataset.exclusive)
    from heldout.metrics import score

    weights = folder / "weights.safetensors"
    files.write_bytes(weights, b"no network stands behind these")
    record = {
        **{
            "schema": 1,
            "spec": config.spec,
            "budget": spec.partition("+")[0].partition("@")[2] or None,
            "seed": seed,
            "fold": fold,
        },
        **{"metric": config.metric, "score": score(config.metric, stored.table, dataset.classes)},
        **{"checkpoint": "last", "epochs": 6, "best_epoch": None, "parameters": 1_400_000, "precision": "32-true"},
        **{"train_seconds": 75.0, "machine": "a processor, 2 cores", "torch": "2.9"},
        **{"fold_hash": dataset.fold_hash, "data_hash": dataset.data_hash},
        "sha256": {"weights": files.sha256_file(weights), "oof": stored.sha256, "maps": {}},
    }
    files.write_json(folder / "run.json", record)
    return folder


@pytest.fixture(scope="session")
def indexed(tmp_path_factory) -> Path:
    """A home in which the small dataset is checked and split."""
    folder = tmp_path_factory.mktemp("indexed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HELDOUT_HOME", str(folder))
        patch.delenv("HELDOUT_DATA", raising=False)
        open_dataset(load(TINY))
    return folder


@pytest.fixture
def finish(home, indexed, monkeypatch):
    """:func:`finish_fit` for several seeds and folds of a spec, in a home without any run."""
    monkeypatch.delenv("HELDOUT_DATA", raising=False)
    shutil.copytree(indexed, home, dirs_exist_ok=True)

    def run(spec: str = TINY, seeds=(0, 1), folds=(0, 1), skill: float = 1.0) -> str:
        for seed in seeds:
            for fold in folds:
                finish_fit(spec, seed, fold, skill)
        return load(spec).spec

    return run


MASKS = "exp001+dataset=masks,seeds=(0,),source_options={'patients':60,'images_per_patient':1,'size':32}"
VOLUMES = "exp003+dataset=volumes,source_options={'dimensions':3,'patients':14,'images_per_patient':1,'size':32}"


def finish_masks(spec: str, seed: int, fold: int, skill: float = 0.7) -> Path:
    """Write a finished fold of a segmentation: the truth at a probability of ``skill``, among noise below that."""
    config = load(spec)
    dataset = open_dataset(config)
    _, rows = dataset.fold_cases(fold)
    random = np.random.default_rng([seed, fold, round(skill * 100)])
    folder = fit_folder(config.spec, seed, fold)
    begin_fit(config, dataset, folder, made_from=MadeFrom())
    predicted = []
    for case in rows["case_id"]:
        truth = dataset.truth(case)
        masks = truth if len(truth) > 1 else np.stack([truth[0] == k + 1 for k in range(len(dataset.classes))])
        probability = np.where(masks > 0, skill, 0.0) + random.normal(0, 0.12, masks.shape)
        map_ = np.rint(255 * np.clip(probability, 0, 1)).astype(np.uint8)
        predicted.append(Prediction(case, presence(map_), map_))
    stored = write_predictions(
        folder, "oof", predicted, rows.assign(fold=fold), exclusive=dataset.exclusive, truth=dataset.truth
    )
    from heldout.metrics import score

    weights = folder / "weights.safetensors"
    files.write_bytes(weights, b"no network stands behind these")
    write_metrics(folder, [EpochRow(e, 1 / e, 0.001, 1.0, None, 0.0) for e in (1, 2, 3)], config.metric)
    record = {
        **{"schema": 1, "spec": config.spec, "budget": None, "seed": seed, "fold": fold, "metric": config.metric},
        **{"score": score(config.metric, stored.table, dataset.classes), "checkpoint": "last", "epochs": 3},
        **{"best_epoch": None, "parameters": 1_400_000, "precision": "32-true", "train_seconds": 75.0},
        **{"machine": "a processor, 2 cores", "torch": "2.9"},
        **{"fold_hash": dataset.fold_hash, "data_hash": dataset.data_hash},
        "sha256": {"weights": files.sha256_file(weights), "oof": stored.sha256, "maps": stored.maps},
    }
    files.write_json(folder / "run.json", record)
    return folder


@pytest.fixture(scope="session")
def drawn(tmp_path_factory) -> Path:
    """A home with finished segmentations of images (a parent and a better child) and of volumes."""
    folder = tmp_path_factory.mktemp("drawn")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HELDOUT_HOME", str(folder))
        patch.delenv("HELDOUT_DATA", raising=False)
        for spec, skill in ((MASKS, 0.4), (MASKS + ",lr=0.01", 0.7), (VOLUMES, 0.7)):
            for fold in (0, 1):
                finish_masks(spec, 0, fold, skill)
    return folder


@pytest.fixture
def masks(home, drawn, monkeypatch) -> tuple[str, str, str]:
    """Specs of the parent, of the child and of the volumes, finished in a home of the test's own."""
    monkeypatch.delenv("HELDOUT_DATA", raising=False)
    shutil.copytree(drawn, home, dirs_exist_ok=True)
    return load(MASKS).spec, load(MASKS + ",lr=0.01").spec, load(VOLUMES).spec
