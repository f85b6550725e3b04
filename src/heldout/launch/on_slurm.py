"""The engine of a Slurm cluster: one job for each fit, submitted as arrays by submitit over a shared folder."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heldout import files
from heldout.data.parallel import cores
from heldout.errors import UserError, note
from heldout.launch.engine import Engine, threads_of
from heldout.launch.plan import Fit
from heldout.launch.worker import Order, own_modules, threads_environment

STOP_SECONDS = 30.0
LOOK_SECONDS = 10.0  # between two looks at the jobs that Slurm has, at least


def call(command: Sequence[str], environment: dict[str, str], log: str) -> int:
    """Run a command on the node; returns its exit code. It ends with the process that called it."""
    import socket

    with open(log, "ab") as output:
        output.write(f"on node {socket.gethostname()}\n".encode())
        output.flush()
        process = subprocess.Popen(
            [sys.executable, *command],
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        return process.wait()


class SlurmQueue:
    """The jobs that Slurm has, waiting or running.

    submitit would ask ``sacct``, once in ten minutes, which knows nothing on a cluster without accounting.
    """

    def __init__(self) -> None:
        self.asked, self.jobs, self.answers = -LOOK_SECONDS, "", False

    def lacks(self, job: str, at_once: bool = False) -> bool:
        """Whether a job has left the cluster; False too where nobody answers."""
        if at_once or time.monotonic() - self.asked > LOOK_SECONDS:
            self.asked = time.monotonic()
            with contextlib.suppress(OSError):
                command = ["squeue", "--me", "--noheader", "--array", "--format=%i"]
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                self.jobs, self.answers = done.stdout, done.returncode == 0
        return self.answers and job not in self.jobs.split()


@dataclass
class SlurmEngine(Engine):
    """Trains fits in jobs of a cluster whose nodes see this folder.

    Attributes:
        executor: Of submitit.
        workers: How many jobs run at once.
        threads: CPU threads of a fit whose run does not say how many.
        until: When fits stop after their current epoch, in seconds since 1970; None is never.
        queue: What Slurm has; None of another cluster.
    """

    executor: Any
    workers: int
    threads: int
    until: float | None = None
    queue: SlurmQueue | None = None

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Fits that are started within are one array.

        Raises:
            UserError: the cluster refuses it.
        """
        from submitit.core.utils import UncompletedJobError

        try:
            with self.executor.batch():
                yield
        except UncompletedJobError as error:
            reason = (str(error).strip().splitlines() or ["without a reason"])[-1]
            raise UserError(
                f"--engine slurm: {platform.node()} cannot submit jobs, as the cluster refuses them ({reason}); change "
                "what --submit says, run the command on a node that submits jobs, or add --submit cluster=local"
            ) from None

    def start(self, fit: Fit, log: Path) -> SlurmJob:
        """Submit a fit, or its continuation.

        Raises:
            UserError: its run has other threads than the jobs have cores.
        """
        threads = threads_of(fit, self.threads)
        if threads != self.threads:
            raise UserError(
                f"{fit} has {threads} threads, and the jobs have {self.threads} cores: train it in a command of its own"
            )
        return self.start_command(str(fit), Order(fit, 0, None, self.until, threads).command(), log)

    def start_command(self, what: str, command: Sequence[str], log: Path) -> SlurmJob:  # noqa: ARG002 - as every engine
        """Submit something else than a fit."""
        log.parent.mkdir(parents=True, exist_ok=True)
        named = {"HELDOUT_HOME": str(files.home()), "HELDOUT_PROJECT": str(files.project())}
        environment = {**named, **own_modules(), **threads_environment(self.threads)}
        return SlurmJob(self.executor.submit(call, list(command), environment, str(log)), log, self.queue)


class SlurmJob:
    """A job, waiting or running."""

    def __init__(self, job: Any, log: Path, queue: SlurmQueue | None = None) -> None:
        self.job, self.log, self.queue = job, log, queue
        self.missed: float | None = None  # when the cluster was first seen without it

    @property
    def where(self) -> str:
        """Its number."""
        return f"job {self.job.job_id}"

    @property
    def is_submitted(self) -> bool:
        """Whether the cluster has taken it; not before the end of :meth:`SlurmEngine.together`."""
        from submitit.core.core import DelayedJob

        return not isinstance(self.job, DelayedJob)

    def poll(self) -> int | None:
        """Its exit code; None while it waits or runs, negative where it or its node was ended."""
        from submitit.core.utils import FailedJobError, UncompletedJobError

        if not self._is_done():
            if not self._is_gone():
                return None
            reason = "it has left the cluster without a result"
        else:
            try:
                return int(self.job.result())
            except (FailedJobError, UncompletedJobError) as error:
                reason = str(error).strip().splitlines()[0]
        with open(self.log, "a", encoding="utf-8") as handle:
            handle.write(f"{self.where} has failed: {reason}\n")
        return -1

    def _is_done(self, force_check: bool = False) -> bool:
        """Whether its result is here; of another cluster than Slurm, whether it has ended."""
        if self.queue is None:
            return bool(self.job.done(force_check))
        if not self.is_submitted:
            return False
        with contextlib.suppress(OSError):
            os.scandir(self.job.paths.folder).close()  # a network mount looks again
        return bool(self.job.paths.result_pickle.exists())

    def _is_gone(self) -> bool:
        """Whether it has left the cluster for so long that its result would have come."""
        if self.queue is None or not self.is_submitted or not self.queue.lacks(self.job.job_id):
            self.missed = None
            return False
        self.missed = self.missed or time.monotonic()
        return time.monotonic() - self.missed > 2 * LOOK_SECONDS

    def interrupt(self) -> None:
        """Cancel it; what it has finished is on the disk."""
        if self.is_submitted:
            self.job.cancel(check=False)

    def stop(self) -> None:
        """Cancel it and wait for its end, half a minute at most."""
        self.interrupt()
        end = time.monotonic() + STOP_SECONDS
        while self.is_submitted and not self._has_ended() and time.monotonic() < end:
            time.sleep(0.5)

    def _has_ended(self) -> bool:
        if self.queue is not None:
            return self.queue.lacks(self.job.job_id, at_once=True)
        return self._is_done(force_check=True)


def slurm_engine(
    workers: int | None, gpus_per_fit: float | None, threads: int | None, parameters: Sequence[str], devices: int = 1
) -> SlurmEngine:
    """An engine of the cluster that this machine submits to.

    Args:
        workers: Jobs at once; None is 16.
        gpus_per_fit: GPUs of each; None is none, as this machine cannot tell whether the nodes have any.
        threads: CPU cores of each; None is 4.
        parameters: Of submitit, as ``slurm_partition=gpu`` or ``timeout_min=600``; ``cluster=local`` runs jobs here.
        devices: That train a fold together, at most.

    Raises:
        UserError: submitit is not installed, this machine has no ``sbatch``, a parameter is unknown, or nothing says
            how many GPUs a fit of several devices has.
    """
    try:
        import submitit
    except ModuleNotFoundError:
        raise UserError("--engine slurm needs the package submitit: pip install 'heldout[slurm]'") from None
    import cloudpickle  # of submitit

    cloudpickle.register_pickle_by_value(
        sys.modules[__name__]
    )  # a job finds this package by the environment of its command
    given = {}
    for text in parameters:
        name, sign, value = text.partition("=")
        if not sign:
            raise UserError(f"--submit {text!r} has no value: write it as slurm_partition=gpu")
        given[name.strip()] = int(value) if value.strip().isdecimal() else value.strip()
    cluster = str(given.pop("cluster", "slurm"))
    if cluster == "slurm" and shutil.which("sbatch") is None:
        raise UserError(
            "--engine slurm: this machine has no sbatch; run the command on a node that submits jobs, or "
            "add --submit cluster=local"
        )
    if gpus_per_fit is not None and gpus_per_fit != int(gpus_per_fit):
        raise UserError(f"--gpus-per-fit {gpus_per_fit:g}: Slurm gives whole GPUs; set a whole number")
    if gpus_per_fit is None and not any("gpus" in name or "gres" in name for name in given):
        if devices > 1:
            raise UserError(
                f"devices = {devices}: a job asks Slurm for no GPU by itself; add --gpus-per-fit {devices}, or "
                "--gpus-per-fit 0 to train on CPUs"
            )
        if cluster == "slurm":
            note("the jobs ask for no GPU, and train on CPUs: add --gpus-per-fit 1 where the nodes have GPUs")
    at_once = workers or (16 if cluster == "slurm" else 1)
    each = given.pop("cpus_per_task", None) or threads or (4 if cluster == "slurm" else max(1, cores() // at_once))
    if not isinstance(each, int):
        raise UserError(f"--submit cpus_per_task={each} is not a number: set as many as a fit has threads")
    try:
        executor = submitit.AutoExecutor(folder=files.home() / "working" / "queue" / "jobs", cluster=cluster)
        executor.update_parameters(
            **{
                "name": "heldout",
                "timeout_min": 24 * 60,
                "cpus_per_task": each,
                "gpus_per_node": int(gpus_per_fit or 0),
                "slurm_array_parallelism": at_once,
                **given,
            }
        )
    except (AssertionError, NameError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(f"--submit: submitit does not take these parameters ({str(error).splitlines()[0]})") from None
    return SlurmEngine(executor, at_once, each, queue=SlurmQueue() if cluster == "slurm" else None)
