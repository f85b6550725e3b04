"""The loop over the queue, on an engine that has fits ready at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from heldout import files
from heldout.cli import run
from heldout.config import load
from heldout.launch import queue
from heldout.launch.engine import HERE, Engine
from heldout.launch.plan import Fit
from heldout.launch.runner import run_queue
from heldout.train import runs
from tests import finished_runs
from tests.finished_runs import finish_fit

TINY = load(finished_runs.TINY).spec
SECOND = load(f"{TINY},lr=0.1").spec


class Job:
    """A fit that ends with a code, or never."""

    def __init__(self, code: int | None) -> None:
        self.code = code
        self.stopped = False
        self.where = HERE

    def poll(self) -> int | None:
        return self.code

    def interrupt(self) -> None:
        pass

    def stop(self) -> None:
        self.stopped = True


class StandIn(Engine):
    """Finishes fits at once; those of ``broken`` fail, those of ``endless`` never end."""

    def __init__(self, broken: tuple[Fit, ...] = (), endless: tuple[Fit, ...] = ()) -> None:
        self.workers, self.broken, self.endless = 1, broken, endless
        self.until: float | None = None
        self.started: list[Fit] = []
        self.jobs: list[Job] = []

    def start(self, fit: Fit, log: Path) -> Job:
        self.started.append(fit)
        if fit in self.broken:
            files.write_text(log, "epoch 1\nerror: the loss is nan: lower lr\n")
            self.jobs.append(Job(2))
        elif fit in self.endless:
            self.jobs.append(Job(None))
        else:
            finish_fit(fit.spec, fit.seed, fit.fold)
            self.jobs.append(Job(0))
        return self.jobs[-1]


@pytest.fixture
def said() -> list[str]:
    return []


def test_everything_is_trained_once(finish, said):
    queue.add(TINY)
    engine = StandIn()
    assert run_queue(engine, said.append) == ()
    assert len(engine.started) == len(set(engine.started)) == 2 * len(engine.started[0].config().fold_list)
    assert all(fit.is_finished() for fit in engine.started)
    assert run_queue(StandIn(), said.append) == ()
    assert queue.read_queue().running == ()


def test_a_new_experiment_is_tried_before_another_fold_of_a_known_one(finish, said):
    finish(SECOND, seeds=(0,), folds=(0,), skill=0.1)
    queue.add(SECOND, seeds=(0,), folds=(0, 1))
    queue.add(TINY, seeds=(0,), folds=(0, 1))
    engine = StandIn()
    run_queue(engine, said.append)
    assert [(fit.spec == SECOND, fit.fold) for fit in engine.started] == [(False, 0), (False, 1), (True, 1)]


def test_a_failing_fit_is_named_and_stops_no_other(finish, said, capsys):
    queue.add(TINY, seeds=(0,), folds=(0, 1))
    broken = Fit(TINY, 0, 0)
    failed = run_queue(StandIn((broken,)), said.append)
    assert [one.fit for one in failed] == [broken]
    assert failed[0].message == "the loss is nan: lower lr"
    assert Fit(TINY, 0, 1).is_finished()
    assert any("failed: the loss is nan" in line for line in said)
    capsys.readouterr()
    assert run(["queue"]) == 0
    shown = capsys.readouterr().out
    assert f"{broken} failed: the loss is nan: lower lr" in shown
    assert "Nothing of it is training" in shown
    assert run(["queue", "--format", "csv"]) == 0
    assert "failed: the loss is nan" in capsys.readouterr().out
    assert run_queue(StandIn(), said.append) == (), "the next call tries it again"


def test_a_fit_that_fails_elsewhere_is_told_with_its_node(finish, said, monkeypatch):
    queue.add(TINY, seeds=(0,), folds=(0,))
    engine = StandIn((Fit(TINY, 0, 0),))
    monkeypatch.setattr(f"{__name__}.HERE", "its process on node b")
    run_queue(engine, said.append)
    assert any("fold 0: failed in its process on node b: the loss is nan" in line for line in said)


def test_a_removed_experiment_is_stopped(finish, said, monkeypatch):
    queue.add(TINY, seeds=(0,), folds=(0,))
    engine = StandIn(endless=(Fit(TINY, 0, 0),))
    monkeypatch.setattr("heldout.launch.runner.time.sleep", lambda _: queue.remove(TINY))
    run_queue(engine, said.append)
    assert engine.jobs[0].stopped
    assert "stopped" in said[-1]


def test_an_interrupt_stops_what_is_at_work(finish, said, monkeypatch):
    queue.add(TINY, seeds=(0,), folds=(0,))
    engine = StandIn(endless=(Fit(TINY, 0, 0),))

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("heldout.launch.runner.time.sleep", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_queue(engine, said.append)
    assert engine.jobs[0].stopped
    assert queue.read_queue().running == ()


SPEC = load(
    "exp001+dataset=tiny,epochs=12,seeds=(0,),source_options={'patients':14,'size':48},steps_per_epoch=24,"
    "validate_every=3,workers=0"
).spec


@pytest.fixture
def command():
    """Starts commands, which end with the test."""
    started = []

    def start(*words: str) -> subprocess.Popen[str]:
        started.append(begin(*words))
        return started[-1]

    yield start
    for process in started:
        process.kill()


def begin(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(files.REPOSITORY / "run.py"), *words],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for_epochs(folder: Path, count: int) -> None:
    """Wait until a fit has finished some epochs."""
    path, end = folder / "metrics.csv", time.monotonic() + 300
    while not path.exists() or len(path.read_text().splitlines()) <= count:
        assert time.monotonic() < end, "no epoch in five minutes"
        time.sleep(0.05)


def wait_for_the_end(folder: Path) -> None:
    """Wait until no process holds a fit."""
    with files.lock(folder, "waiting in a test", wait=True):
        pass


@pytest.mark.journey
def test_killed_interrupted_and_resumed_it_ends_with_the_same_bits(home, command):
    expected = command("train", SPEC, "--fold", "0")
    assert expected.wait() == 0, expected.stderr.read()
    folder = runs.fit_folder(SPEC, 0, 0)
    digest = files.sha256_file(folder / "weights.safetensors")
    folder.parents[1].rename(home / "working" / "aside")

    assert command("queue", "add", SPEC, "--fold", "0").wait() == 0
    first = command("queue", "run", "--nice", "0")
    wait_for_epochs(folder, 1)
    second = command("queue", "run", "--nice", "0")
    assert second.wait() == 2
    assert "is in use by process" in second.stderr.read()
    first.kill()
    first.wait()
    wait_for_the_end(folder)
    assert not runs.is_finished(folder)

    third = command("queue", "run", "--nice", "0")
    wait_for_epochs(folder, 2)
    third.send_signal(signal.SIGINT)
    assert third.wait() == 130
    assert "Traceback" not in third.stderr.read()
    wait_for_the_end(folder)
    assert queue.read_queue().running == ()

    last = command("queue", "run", "--nice", "0")
    assert last.wait() == 0
    assert "Nothing is left to train" in last.stdout.read()
    assert files.sha256_file(folder / "weights.safetensors") == digest


@pytest.mark.journey
def test_a_full_run_stops_at_its_time_and_ends_in_a_report(home, command):
    alone = SPEC.replace("exp001", "exp004")  # without descendants, as exp001 has them
    words = ("full", alone, "--name", "mine", "--workers", "0")
    first = command(*words, "--minutes", "0.0001")
    assert first.wait() == 0, first.stderr.read()
    said = first.stdout.read()
    assert "] train: 0 of 2 fits are finished, 0 of them now" in said
    assert "Next: python run.py full" in said
    last = command(*words)
    assert last.wait() == 0, last.stderr.read()
    said = last.stdout.read()
    assert [line.split()[1] for line in said.splitlines() if line.startswith("[")] == [
        *("folds:", "train:", "blend:", "freeze:", "report:")
    ]
    assert "] train: 2 of 2 fits are finished, 2 of them now" in said
    assert (home / "working" / "reports" / "mine" / "report.html").is_file()
