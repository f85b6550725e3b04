"""``--minutes`` becomes a number of epochs: measured once, the same for every fold, and part of the run's name."""

from __future__ import annotations

import pytest

from heldout.cli import run
from heldout.config import load
from heldout.errors import UserError
from heldout.train import minutes, opening, runs
from heldout.train.minutes import within_minutes

PARENT = '"""Squares."""\nfrom tests.train.exp901 import Exp901\nclass Exp910(Exp901):\n    budgets = {"quick": None}\n'


@pytest.fixture
def measured(experiments, monkeypatch) -> list[float]:
    """The seconds that a step takes, to be changed; experiment exp910 has 5 steps an epoch on fold 0."""
    (experiments / "exp910.py").write_text(PARENT + "    steps_per_epoch = 5\n")
    seconds = [1.0]
    monkeypatch.setattr(opening, "step_times", lambda *_: (seconds[0], 0.0))
    return seconds


def test_the_number_of_epochs_is_measured_once(measured):
    config, record = within_minutes(load("exp910"), 1, seed=0, fold=0)
    assert (config.spec, config.epochs) == ("exp910+epochs=12", 12)
    assert (record.steps, record.step_seconds) == (5, 1.0)
    measured[0] = 0.1  # another fold on a machine that is idle by now
    assert within_minutes(load("exp910"), 1, seed=0, fold=1)[0].epochs == 12
    assert within_minutes(load("exp910"), 2, seed=0, fold=1)[0].epochs == 240


def test_a_changed_experiment_is_measured_again(measured, experiments):
    within_minutes(load("exp910"), 1, seed=0, fold=0)
    measured[0] = 2.0
    assert within_minutes(load("exp910+lr=0.5"), 1, seed=0, fold=0)[0].epochs == 6
    record = minutes.record_path(load("exp910"), 1)
    record.write_text(record.read_text().replace('"fingerprint": "', '"fingerprint": "0'))
    assert within_minutes(load("exp910"), 1, seed=0, fold=0)[0].epochs == 6


def test_a_time_below_an_epoch_is_refused(measured):
    with pytest.raises(UserError, match=r"an epoch of exp910 takes 0\.1 minutes .* raise --minutes"):
        within_minutes(load("exp910"), 0.05, seed=0, fold=0)


def test_epochs_are_not_chosen_twice(measured):
    with pytest.raises(UserError, match=r"exp910\+epochs=3 sets epochs, and --minutes chooses them"):
        within_minutes(load("exp910+epochs=3"), 1, seed=0, fold=0)


def test_a_damaged_record_is_named(measured):
    within_minutes(load("exp910"), 1, seed=0, fold=0)
    path = minutes.record_path(load("exp910"), 1)
    path.write_text('{"schema": 1}')
    with pytest.raises(UserError, match=r"minutes=1\.json has a missing or wrong spec.*delete it"):
        within_minutes(load("exp910"), 1, seed=0, fold=0)


def test_training_for_some_seconds(experiments, capsys):
    (experiments / "exp910.py").write_text(PARENT)
    assert run(["exp910", "--fold", "0", "--minutes", "0.02"]) == 0
    out = capsys.readouterr().out
    spec = out.partition(":")[0]
    assert spec.startswith("exp910+epochs=")
    assert runs.read_run(runs.fit_folder(spec, 0, 0)).epochs == load(spec).epochs
    assert run(["exp910", "--fold", "0", "--minutes", "0.02"]) == 0
    assert capsys.readouterr().out.partition(":")[0] == spec


def test_steps_are_measured_at_every_size_with_all_that_learns(experiments, monkeypatch):
    """A frozen encoder and small images make the first epochs shorter than the others."""
    (experiments / "exp910.py").write_text(
        f"{PARENT}    frozen_epochs = 1\n    progressive_sizes = (0.5, 1.0)\n\n"
        "    def build_model(self, classes, exclusive):\n"
        "        network = super().build_model(classes, exclusive)\n"
        "        network.encoder = network.body[0]\n"
        "        return network\n"
    )
    seen, step = set(), opening.train_step

    def watched(config, state, *rest):
        seen.add((state.size, all(weight.requires_grad for weight in state.network.parameters())))
        return step(config, state, *rest)

    monkeypatch.setattr(opening, "train_step", watched)
    within_minutes(load("exp910"), 0.1, seed=0, fold=0)
    assert seen == {(0.5, True), (1.0, True)}
