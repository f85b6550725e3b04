"""What adds something to the fold loop: killed by the system, again and again, a run ends with the same bits."""

from __future__ import annotations

import multiprocessing
import random
import shutil
import signal
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from heldout import files
from heldout.config import load
from heldout.data.cases import open_dataset
from heldout.tasks import Task
from heldout.train import runs
from heldout.train.fit import fit_fold
from heldout.train.pseudo import write_pseudo_labels
from tests.train.exp901 import write_squares

EPOCHS = 20
PARENT = (
    '"""Squares."""\nfrom tests.train.exp901 import Exp901\nclass Exp910(Exp901):\n    epochs = 2\n'
    '    budgets = {"quick": None}\n'
)
CHILD = '"""Squares, and more."""\nfrom exps.exp910 import Exp910\nclass Exp911(Exp910):\n'
MINING = {"hard_negative_fraction": 0.5, "mine_every": 1, "hard_negative_quantile": 0.5}
TECHNIQUES = {
    "mining, warm start, pseudo-labels": {**MINING, "warm_start": "exp910", "pseudo_labels": "extra"},
    "mining, two stages": {"first_stage": "exp910", "first_stage_use": "crop", "first_stage_fraction": 0.8, **MINING},
}


@pytest.mark.journey
@pytest.mark.parametrize("fields", TECHNIQUES.values(), ids=TECHNIQUES)
def test_killed_by_the_system_and_resumed(squares, experiments, fields):
    write_squares(squares.parent / "raw" / "squares", 30, unlabeled=6)
    lines = [f"    {name} = {value!r}\n" for name, value in {**fields, "epochs": EPOCHS, "workers": 1}.items()]
    (experiments / "exp910.py").write_text(PARENT)
    (experiments / "exp911.py").write_text(CHILD + "".join(lines))
    if {"warm_start", "first_stage"} & set(fields):
        for fold in (0, 1):
            fit_fold(load("exp910"), open_dataset(load("exp910")), fold, 0, quiet=True)
    if "pseudo_labels" in fields:
        write_pseudo_labels(load("exp910"), "extra", None, 0.5, quiet=True)
    config = load("exp911")
    expected = kept(train(config))
    shutil.rmtree(runs.run_folder("exp911"))

    folder = runs.fit_folder("exp911", 0, 0)
    generator, kills = random.Random(0), 0
    for wanted in (1, 4, 8, 12):  # finished epochs before the kill, at some moment of the next ones
        process = start(config)
        while finished_epochs(folder) < wanted and process.is_alive():
            time.sleep(0.01)
        time.sleep(generator.uniform(0, 0.1))
        process.kill()
        process.join()
        kills += process.exitcode == -signal.SIGKILL
    assert kills
    process = start(config)
    process.join()
    assert process.exitcode == 0
    assert kept(folder) == expected
    assert not list(folder.rglob("*.part"))


def start(config: Task) -> BaseProcess:
    """A process of its own that trains fold 0."""
    process = multiprocessing.get_context("fork").Process(target=train, args=(config,))
    process.start()
    return process


def train(config: Task) -> Path:
    return fit_fold(config, open_dataset(config), 0, 0, quiet=True)


def finished_epochs(folder: Path) -> int:
    """Rows of the fold's learning curve."""
    path = folder / "metrics.csv"
    return len(path.read_text().splitlines()) - 1 if path.exists() else 0


def kept(folder: Path) -> dict[str, object]:
    """Hashes of all that must come out the same."""
    record = runs.read_run(folder)
    named = {"sha256", "score", "hard_negatives", "warm_start", "pseudo_labels"}
    choices = sorted((folder / "hard_negatives").glob("*.csv"))
    return record.model_dump(include=named) | {path.name: files.sha256_file(path) for path in choices}
