"""One fold on two devices: two processes on a CPU, with gloo."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from heldout.data.cases import open_dataset
from heldout.errors import UserError
from heldout.launch.worker import own_modules
from heldout.tasks import load_task
from heldout.train.fit import fit_fold
from heldout.train.record import read_run
from heldout.train.team import Team, train_together
from tests.train.exp906 import Exp906
from tests.train.exp907 import Exp907


@pytest.fixture(autouse=True)
def two_threads(monkeypatch):
    monkeypatch.delenv("HELDOUT_DATA", raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def fit(devices: int, kind=Exp906, watch=None, **fields) -> Path:
    config = kind.create(overrides={**fields, "devices": devices})
    return fit_fold(config, open_dataset(config), 0, 0, quiet=True, watch=watch)


def gap(one: Path, other: Path) -> float:
    a, b = (load_file(folder / "weights.safetensors") for folder in (one, other))
    assert a.keys() == b.keys()
    return max(float((a[name] - b[name]).abs().max()) for name in a)


def losses(folder: Path) -> pd.Series:
    return pd.read_csv(folder / "metrics.csv")["train_loss"]


def test_two_devices_train_as_one_does(home):
    one, two = fit(1), fit(2)
    assert gap(one, two) < 1e-5
    assert losses(two).to_numpy() == pytest.approx(losses(one).to_numpy(), abs=1e-5)
    tables = [pd.read_parquet(folder / "oof.parquet") for folder in (one, two)]
    assert list(tables[1]["case_id"]) == list(tables[0]["case_id"])  # each exactly once
    assert list(tables[1].columns) == list(tables[0].columns)
    assert (tables[1].dtypes == tables[0].dtypes).all()
    assert len(list((two / "oof_maps").glob("*.b2nd"))) == len(tables[1])
    assert set(read_run(two).sha256.maps) == set(tables[1]["case_id"])


@pytest.mark.journey
def test_adamw_and_accumulated_gradients_on_two_devices(home):
    fields = {"optimizer": "adamw", "accumulate": 2}
    assert losses(fit(2, **fields)).to_numpy() == pytest.approx(losses(fit(1, **fields)).to_numpy(), abs=1e-3)


@pytest.mark.journey
def test_samples_of_images_are_loaded_once(home):
    assert gap(fit(1, Exp907), fit(2, Exp907)) < 1e-5
    assert gap(fit(1, Exp907, mixup=0.4), fit(2, Exp907, mixup=0.4)) < 1e-5  # whole batches, as samples are mixed


class StoppedError(Exception):
    pass


def stop(progress):
    raise StoppedError


@pytest.mark.journey
def test_stopped_and_resumed_with_hard_negatives_and_early_stopping(home):
    fields = {
        **{"positive_fraction": 0.5, "hard_negative_fraction": 0.5, "mine_every": 1, "steps_per_epoch": 3},
        **{"epochs": 4, "validate_every": 1, "checkpoint": "best", "early_stopping": 2},
    }
    whole = fit(2, **fields)
    other = {**fields, "seeds": (0, 1)}  # outside of the identity: the same training in another folder
    with pytest.raises(StoppedError):
        fit(2, watch=stop, **other)
    resumed = fit(2, **other)
    assert whole != resumed
    assert gap(whole, resumed) == 0
    assert read_run(whole).hard_negatives == read_run(resumed).hard_negatives
    assert read_run(whole).score == read_run(resumed).score


def test_batch_normalization_is_refused(home):
    with pytest.raises(UserError, match=r"devices = 2 and batch normalization \(body"):
        fit(2, Exp907, encoder="resnet10t")
    assert not (home / "working" / "runs").exists()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (["devices=3"], "batch_size = 4 cannot be shared evenly by devices = 3"),
        (["devices=2", "measure_speed=True"], "measure_speed measures one device"),
    ],
)
def test_contradictions_are_refused(fields, message):
    with pytest.raises(UserError, match=message):
        load_task("exp003", overrides=fields)


def test_minutes_are_refused_on_several_devices(home, capsys):
    from heldout.cli import run

    assert run(["exp003", "--devices", "2", "--minutes", "1"]) == 2
    assert "--minutes measures one: set epochs instead" in capsys.readouterr().err


def wait_for_the_others(team: Team) -> None:
    team.fabric("32-true")
    team.wait()


def fail(team: Team) -> None:
    raise UserError("masks/7.png is truncated: restore it")


def fail_later(team: Team) -> None:
    team.fabric("32-true")
    raise ValueError("a defect of the code")


def test_the_reason_of_another_process_is_told():
    with pytest.raises(UserError, match=r"masks/7.png is truncated"):
        train_together(2, wait_for_the_others, fail)
    with pytest.raises(RuntimeError, match="a defect of the code"):
        train_together(2, wait_for_the_others, fail_later)


def wait_uninterrupted(team: Team) -> None:
    """As a process does whose GPU waits for another one."""
    time.sleep(60)


def be_killed(team: Team) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_was_killed_is_not_waited_for():
    script = (
        "from heldout.train import team; from tests.train.test_team import be_killed, wait_uninterrupted;"
        "team.MISSED = 0.5; team.train_together(2, wait_uninterrupted, be_killed)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, **own_modules()},
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    assert done.returncode == 1
    assert "another process of this training ended (signal 9)" in done.stderr
    assert "run the command again, and it goes on after its last epoch" in done.stderr
