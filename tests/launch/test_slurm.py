"""Fits as jobs of Slurm, where it is installed; else submitit's local executor stands for it."""

from __future__ import annotations

import os
import platform
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from heldout import files
from heldout.config import load
from heldout.errors import UserError
from heldout.launch.plan import Fit
from heldout.launch.queue import QueueEntry
from heldout.launch.runner import run_fits
from heldout.train import runs
from heldout.train.fit import run_experiment
from tests.launch import slurm

pytest.importorskip("submitit")
pytestmark = pytest.mark.extras

SPEC = load(
    "exp004+dataset=tiny,epochs=3,seeds=(0,),source_options={'patients':40,'images_per_patient':1,'size':32},"
    "steps_per_epoch=20,threads=1,workers=0"
).spec


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[list[str]]:
    """Parameters of jobs for the cluster that there is."""
    with ExitStack() as held:
        reason = None if slurm.answers() else held.enter_context(slurm.daemons(tmp_path_factory.mktemp("slurm")))
        if reason is not None:
            print(f"jobs are of submitit's local executor: {reason}", file=sys.stderr)
        yield [] if reason is None else ["cluster=local"]


def test_a_killed_job_is_submitted_again_and_gives_the_bits_of_one_process(home, cluster):
    from heldout.launch.on_slurm import slurm_engine

    entry = QueueEntry(spec=SPEC, folds=(0,), added="")
    folder = runs.fit_folder(SPEC, 0, 0)
    run_experiment(load(SPEC), [0], quiet=True)
    digest = files.sha256_file(folder / "weights.safetensors")
    runs.run_folder(SPEC).rename(home / "aside")

    killed: list[int] = []
    said: list[str] = []

    def show(*_: object) -> None:
        if not killed and (folder / "state.pt").exists():
            killed.append(int(re.findall(r"process (\d+)", (folder / ".lock").read_text())[0]))
            os.kill(killed[0], signal.SIGKILL)

    assert (
        run_fits(
            slurm_engine(1, None, 1, cluster),
            [entry],
            said.append,
            type("Watch", (), {"show": staticmethod(show)})(),
        )
        == ()
    )
    assert files.sha256_file(folder / "weights.safetensors") == digest
    assert any("job" in line and "is gone (1)" in line for line in said), said


def test_a_machine_without_slurm_is_told_so(home, monkeypatch):
    from heldout.launch.on_slurm import slurm_engine

    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(UserError, match="this machine has no sbatch; run the command on a node that submits jobs"):
        slurm_engine(2, None, 1, [])


def test_an_unknown_parameter_of_a_job_is_named(home):
    from heldout.launch.on_slurm import slurm_engine

    with pytest.raises(UserError, match=r"--submit: submitit does not take these parameters .*colour"):
        slurm_engine(2, None, 1, ["cluster=local", "colour=red"])


def test_a_parameter_of_the_wrong_type_is_named(home):
    from heldout.launch.on_slurm import slurm_engine

    with pytest.raises(UserError, match=r"--submit: submitit does not take these parameters .*timeout_min.*soon"):
        slurm_engine(2, None, 1, ["cluster=local", "timeout_min=soon"])


def test_an_unknown_cluster_is_named(home):
    from heldout.launch.on_slurm import slurm_engine

    with pytest.raises(UserError, match=r"--submit: submitit does not take these parameters .*bogus"):
        slurm_engine(2, None, 1, ["cluster=bogus"])


def test_jobs_that_the_cluster_refuses_fail_with_its_reason(home, tmp_path, monkeypatch):
    from heldout.launch.on_slurm import slurm_engine

    (tmp_path / "sbatch").write_text("#!/bin/sh\necho 'sbatch: error: invalid partition specified: x' >&2\nexit 1\n")
    (tmp_path / "srun").write_text("#!/bin/sh\n")
    for name in ("sbatch", "srun"):
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    engine = slurm_engine(2, None, 1, ["slurm_partition=x"])
    expected = rf"{platform.node()} .*refuses them \(.*invalid partition specified: x\); .*--submit cluster=local"
    with pytest.raises(UserError, match=expected):
        run_fits(engine, [QueueEntry(spec=SPEC, added="")], print)


def test_cores_that_are_submitted_for_are_the_threads_of_a_fit(home):
    from heldout.launch.on_slurm import slurm_engine

    assert slurm_engine(2, None, 1, ["cluster=local", "cpus_per_task=3"]).threads == 3
    with pytest.raises(UserError, match="--submit cpus_per_task=many is not a number"):
        slurm_engine(2, None, None, ["cluster=local", "cpus_per_task=many"])


def test_threads_that_the_jobs_do_not_have_are_refused(home):
    from heldout.launch.on_slurm import slurm_engine

    engine = slurm_engine(2, None, 2, ["cluster=local"])
    with pytest.raises(UserError, match="has 1 threads, and the jobs have 2 cores: train it in a command of its own"):
        engine.start(Fit(SPEC, 0, 0), home / "log")


def test_a_fit_of_several_devices_says_how_many_gpus_its_job_has(home):
    from heldout.launch.on_slurm import slurm_engine

    with pytest.raises(UserError, match="devices = 2: a job asks Slurm for no GPU by itself; add --gpus-per-fit 2"):
        slurm_engine(1, None, 1, ["cluster=local"], 2)
    for gpus, given in ((2, []), (0, []), (None, ["gpus_per_node=2"])):
        assert slurm_engine(1, gpus, 1, ["cluster=local", *given], 2).workers == 1


def test_jobs_without_a_gpu_are_told(home, tmp_path, monkeypatch, capsys):
    from heldout.launch.on_slurm import slurm_engine

    for name in ("sbatch", "srun"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    for gpus, told in ((None, True), (1, False), (0, False)):
        slurm_engine(1, gpus, 1, ["slurm_partition=x"])
        assert ("the jobs ask for no GPU" in " ".join(capsys.readouterr().err.split())) == told


def test_two_jobs_of_an_array_one_of_which_is_cancelled_and_what_comes_after_them(home, cluster, monkeypatch):
    from heldout.launch import on_slurm
    from heldout.launch.on_slurm import slurm_engine

    monkeypatch.setattr(on_slurm, "LOOK_SECONDS", 1.0)
    cancelled: list[str] = []

    def show(*_: object) -> None:  # as when a node is lost: there is no accounting to ask
        if cluster == [] and not cancelled and any(runs.run_folder(spec).glob("seed*/fold*/config.json")):
            jobs = subprocess.run(
                ["squeue", "-h", "-r", "-t", "R", "-o", "%i"], capture_output=True, text=True, check=True
            )
            cancelled.extend(jobs.stdout.split()[:1])
            subprocess.run(["scancel", "--signal=KILL", "--full", *cancelled], check=True)

    spec = load(SPEC.replace("epochs=3", "epochs=1").replace("seeds=(0,)", "seeds=(0,1)")).spec
    said: list[str] = []
    engine = slurm_engine(2, None, 1, cluster)
    watch = type("Watch", (), {"show": staticmethod(show)})()
    assert run_fits(engine, [QueueEntry(spec=spec, added="")], said.append, watch) == ()
    assert all(runs.is_finished(runs.fit_folder(spec, seed, fold)) for seed in (0, 1) for fold in (0, 1))
    logs = [files.home() / line.rpartition("log in ")[2] for line in said if "started, log in" in line]
    assert len(logs) == 4 + len(cancelled)
    assert all("on node " in log.read_text() for log in logs)
    assert sum(f"job {cancelled[0]} is gone" in line for line in said) == 1 if cancelled else cluster != []
