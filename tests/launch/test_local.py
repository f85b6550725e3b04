"""Several fits at once on this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from heldout import files
from heldout.config import load
from heldout.errors import UserError
from heldout.launch.display import FitsDisplay
from heldout.launch.engine import Engine
from heldout.launch.local import LocalEngine, _shares, local_engine
from heldout.launch.order import longest_first
from heldout.launch.plan import Fit
from heldout.launch.queue import QueuedFit, QueueEntry
from heldout.launch.runner import run_fits
from heldout.launch.schedule import Schedule, Waiting
from heldout.launch.worker import Order, own_modules
from heldout.launch.worth import Worth
from heldout.train import runs
from tests.finished_runs import TINY, finish_fit

SPEC = load(
    "exp004+dataset=tiny,epochs=3,seeds=(0,),source_options={'patients':40,'images_per_patient':1,'size':32},"
    "steps_per_epoch=20,threads=1,workers=0"
).spec
ENTRY = QueueEntry(spec=SPEC, added="today")


def test_what_others_wait_for_and_long_fits_come_first():
    minutes = {"short": 1.0, "long": 9.0, "first": 5.0, "second": 5.0, "unknown": None}
    assert longest_first(minutes, {"second": ["first"]}) == ["first", "long", "second", "unknown", "short"]


def test_threads_without_a_core_each_are_refused_with_what_fits(home, tmp_path, monkeypatch):
    monkeypatch.setattr("heldout.launch.local.cores", lambda: 4)
    engine = LocalEngine(workers=2)
    with pytest.raises(UserError, match=r"has 3 threads, and 2 of such fits at once need 6 cores.*--workers 1"):
        engine.start(Fit(load(f"{TINY},threads=3").spec, 0, 0), tmp_path / "log")


def test_cores_are_shared_and_more_workers_than_cores_refused(monkeypatch):
    monkeypatch.setattr("heldout.launch.local.cores", lambda: 8)
    monkeypatch.setattr("heldout.launch.local._gpus", list)
    assert local_engine(4, None, None).threads == 2
    assert local_engine(None, None, 3).workers == 2
    assert local_engine(4, None, 8).threads == 2
    with pytest.raises(UserError, match="--workers 9: this machine has 8 cores"):
        local_engine(9, None, None)
    with pytest.raises(UserError, match="--gpus-per-fit 1: this machine has 0 GPUs"):
        local_engine(1, 1, None)


def test_a_fit_of_several_devices_is_given_as_many_gpus(monkeypatch):
    monkeypatch.setattr("heldout.launch.local.cores", lambda: 8)
    monkeypatch.setattr("heldout.launch.local._gpus", lambda: ["0", "1", "2", "3"])
    assert local_engine(None, None, None, devices=2).gpus == ["0,1", "2,3"]
    assert local_engine(None, 1, None, devices=2).gpus == ["0", "1", "2", "3"]
    with pytest.raises(UserError, match="devices = 8: this machine has 4 GPUs; lower it"):
        local_engine(None, None, None, devices=8)


def test_gpus_are_shared():
    assert _shares(["0", "1", "2"], 1) == ["0", "1", "2"]
    assert _shares(["0", "1"], 0.5) == ["0", "0", "1", "1"]
    assert _shares(["0", "1", "2"], 2) == ["0,1"]


class Killed(Engine):
    """Loses its process ``times`` times; after ``progress`` of them an epoch more is finished."""

    workers, until, where = 1, None, "its process"

    def __init__(self, times: int, progress: tuple[int, ...] = (), code: int = -9) -> None:
        self.times, self.progress, self.code, self.started = times, progress, code, 0

    def start(self, fit: Fit, log: Path) -> Killed:
        self.started += 1
        log.parent.mkdir(parents=True, exist_ok=True)
        log.touch()
        if self.started in self.progress:
            folder = fit.folder()
            folder.mkdir(parents=True, exist_ok=True)
            done = sum(number <= self.started for number in self.progress)
            (folder / "metrics.csv").write_text("epoch,seconds\n" + "1,1\n" * done)
        if self.started > self.times:
            finish_fit(fit.spec, fit.seed, fit.fold)
        return self

    def poll(self) -> int | None:
        return self.code if self.started <= self.times else 0

    def interrupt(self) -> None:
        raise AssertionError("nothing is left to stop")

    stop = interrupt


def entry() -> QueueEntry:
    return QueueEntry(spec=load(TINY).spec, folds=(0,), seeds=(0,), added="today")


def test_a_finished_fit_whose_process_is_about_to_end_is_counted_once(finish):
    spec = finish(TINY, seeds=(0,), folds=(0,))
    ending = QueuedFit(spec=spec, seed=0, fold=0, time=0.0, log="log")
    display = FitsDisplay(2)
    display.show(Schedule((Waiting(Fit(spec, 0, 1), (), Worth()),), (), {}), [ending])
    assert display.bar.tasks[0].completed == 1


def test_all_fits_are_counted_at_the_end(finish):
    with FitsDisplay(1) as display:
        assert run_fits(Killed(0), [entry()], lambda _: None, display) == ()
    assert display.bar.tasks[0].completed == 1


class Refusing(Killed):
    """Cannot give one fit what it needs."""

    def start(self, fit: Fit, log: Path) -> Killed:
        if fit.fold == 0:
            raise UserError("no node is large enough: add one")
        return super().start(fit, log)


def test_a_fit_that_an_engine_refuses_hides_no_other(finish):
    (failed,) = run_fits(Refusing(0), [entry().model_copy(update={"folds": (0, 1)})], lambda _: None)
    assert (failed.fold, failed.message) == (0, "no node is large enough: add one")
    assert Fit(failed.spec, 0, 1).is_finished()


def test_a_killed_fit_is_started_again(finish):
    said: list[str] = []
    assert run_fits(Killed(2), [entry()], said.append) == ()
    assert sum("its process is gone" in line for line in said) == 2


def test_a_fit_that_is_killed_at_every_start_fails_with_a_remedy(finish):
    (failed,) = run_fits(Killed(9), [entry()], lambda _: None)
    assert "killed 3 times without an epoch in between (signal 9), mostly for want of memory" in failed.message


def test_a_fit_that_a_cluster_asks_to_end_is_started_again(finish):
    said: list[str] = []
    assert run_fits(Killed(2, code=130), [entry()], said.append) == ()
    assert sum("its process is gone" in line for line in said) == 2
    (failed,) = run_fits(Killed(9, code=130), [entry().model_copy(update={"seeds": (1,)})], lambda _: None)
    assert "killed 3 times without an epoch in between (asked to end), as by a cluster that cancels" in failed.message


def test_a_fit_may_be_killed_any_number_of_times_while_it_gets_on(finish):
    engine = Killed(7, progress=(2, 4, 6))
    assert run_fits(engine, [entry()], lambda _: None) == ()
    assert engine.started == 8


@pytest.mark.journey
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="two fits at once need two cores")
def test_two_at_once_one_killed_and_two_drivers_give_the_bits_of_one(home):
    assert run_fits(LocalEngine(1, nice=0), [ENTRY], lambda _: None) == ()
    folders = [runs.fit_folder(SPEC, 0, fold) for fold in load(SPEC).fold_list]
    alone = [files.sha256_file(folder / "weights.safetensors") for folder in folders]
    runs.run_folder(SPEC).rename(home / "aside")

    other = LocalEngine(1, nice=0).start(Fit(SPEC, 0, 0), home / "other.log")  # a second driver on the first fit
    engine, killed = LocalEngine(2, nice=0), []

    def watch(*_: object) -> None:
        if not killed and (folders[1] / "state.pt").exists():
            job = next(job for job in engine._jobs.values() if chr(34) + 'fold": 1' in job.process.args[-1])
            os.kill(job.process.pid, signal.SIGKILL)
            killed.append(job)

    said: list[str] = []
    shown = type("Watch", (), {"show": staticmethod(watch)})()
    assert run_fits(engine, [ENTRY], said.append, shown) == ()
    end = time.monotonic() + 60
    while other.poll() is None:
        assert time.monotonic() < end
        time.sleep(0.1)
    assert [files.sha256_file(folder / "weights.safetensors") for folder in folders] == alone
    assert [runs.read_config(folder).threads for folder in folders] == [1, 1]
    assert killed
    assert any("is gone" in line for line in said), said


def test_a_fit_of_the_queue_gives_way_to_the_other_processes_of_its_session_and_to_other_sessions():
    asks = (
        "from heldout.launch.worker import set_priority\nset_priority(19)\nimport pathlib\n"
        "print(pathlib.Path('/proc/self/stat').read_text().rpartition(')')[2].split()[16])\n"
        "group = pathlib.Path('/proc/self/autogroup')\n"
        "print(group.read_text().strip() if group.exists() else '/ nice 19')"
    )
    done = subprocess.run(
        [sys.executable, "-c", asks],
        capture_output=True,
        text=True,
        check=True,
        start_new_session=True,
        env={**os.environ, **own_modules()},
    )
    nice, group = done.stdout.splitlines()
    assert nice == "19"
    assert group.endswith("nice 19")


def test_a_process_of_the_queue_has_its_priority(home, tmp_path):
    """The last line of an order for a fit that does not exist comes after the priority was set."""
    engine = LocalEngine(nice=7)
    seen = "import sys; sys.argv = ['', sys.argv[-1]]; from heldout.launch import worker; import os\n"
    seen += "worker.train = lambda order: print('nice', os.getpriority(os.PRIO_PROCESS, 0))\nsys.exit(worker.main())"
    order = Order(Fit("exp001", 0, 0), engine.nice).command()
    job = engine.start_command("a fit", ["-c", seen, order[-1]], tmp_path / "log")
    assert job.process.wait(60) == 0
    assert "nice 7" in (tmp_path / "log").read_text()
