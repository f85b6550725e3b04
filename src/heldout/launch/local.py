"""The engine of this machine: one process for each fit, with its share of the cores and GPUs."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from heldout.data.parallel import cores
from heldout.errors import UserError
from heldout.launch.engine import HERE, Engine, refuse_threads, threads_of
from heldout.launch.plan import Fit
from heldout.launch.worker import Order, own_modules, threads_environment

STOP_SECONDS = 30.0


@dataclass
class LocalEngine(Engine):
    """Trains fits in processes of this machine.

    Attributes:
        workers: How many at once.
        nice: Their nice value: 19 gives way to everything else, 0 to nothing.
        loaders: Loading processes of each; None leaves that to the experiment. No result depends on them.
        until: When they stop after their current epoch, in seconds since 1970; None is never.
        threads: CPU threads of a fit whose run does not say how many; None is what its process takes by itself.
        gpus: For each worker the GPUs that it sees; () lets every one see all.
    """

    workers: int = 1
    nice: int = 19
    loaders: int | None = None
    until: float | None = None
    threads: int | None = None
    gpus: Sequence[str] = ()
    _jobs: dict[int, LocalJob] = field(default_factory=dict, init=False, repr=False)

    def start(self, fit: Fit, log: Path) -> LocalJob:
        """Start a fit, or resume it.

        Raises:
            UserError: it needs more cores than there are.
        """
        threads = threads_of(fit, self.threads)
        if threads is not None:
            refuse_threads(fit, threads, self.workers, cores(), "this machine")
        return self._start(Order(fit, self.nice, self.loaders, self.until, threads).command(), threads, log)

    def start_command(self, what: str, command: Sequence[str], log: Path) -> LocalJob:  # noqa: ARG002 - as every engine
        """Start something else than a fit, with its share of the cores."""
        return self._start(command, self.threads, log)

    def _start(self, command: Sequence[str], threads: int | None, log: Path) -> LocalJob:
        slot = next(k for k in range(self.workers) if k not in self._jobs or self._jobs[k].poll() is not None)
        log.parent.mkdir(parents=True, exist_ok=True)
        seen = {"CUDA_VISIBLE_DEVICES": self.gpus[slot]} if self.gpus else {}
        with open(log, "ab") as output:
            process = subprocess.Popen(
                [sys.executable, *command],
                env={**os.environ, **own_modules(), **threads_environment(threads), **seen},
                stdin=subprocess.PIPE,  # its end tells the worker that this process has ended, however that happened
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a Ctrl-C reaches this process only, and the priority is of the worker only
            )
        self._jobs[slot] = LocalJob(process)
        return self._jobs[slot]


@dataclass(frozen=True)
class LocalJob:
    """A process that trains one fit."""

    process: subprocess.Popen[bytes]
    where: str = HERE

    def poll(self) -> int | None:
        """Its exit code; None while it works, negative where a signal killed it."""
        return self.process.poll()

    def interrupt(self) -> None:
        """Ask it to end as Ctrl-C does."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    def stop(self) -> None:
        """End it as Ctrl-C does, and by force after half a minute."""
        self.interrupt()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def local_engine(workers: int | None, gpus_per_fit: float | None, threads: int | None, devices: int = 1) -> LocalEngine:
    """An engine that shares this machine's cores and GPUs among fits.

    Args:
        workers: Fits at once; None is one for each share of the GPUs, or else as many as ``threads`` have cores.
        gpus_per_fit: GPUs of each; 0.5 puts two fits on one. None is ``devices`` where there are GPUs.
        threads: CPU threads of each, as far as that is known; None shares the cores, as ``workers`` does.
        devices: That train a fold together, at most.

    Raises:
        UserError: there are fewer GPUs or cores than that.
    """
    there = _gpus()
    each = (float(devices) if there else 0.0) if gpus_per_fit is None else gpus_per_fit
    shares = _shares(there, each) if each else []
    if each and not shares:
        asked = f"devices = {devices}" if gpus_per_fit is None else f"--gpus-per-fit {each:g}"
        raise UserError(f"{asked}: this machine has {len(there)} GPUs; lower it, or leave it out")
    given = workers is not None
    if workers is None:
        workers = len(shares) if shares else max(1, cores() // threads) if threads else 1
    if shares and workers > len(shares):
        raise UserError(
            f"--workers {workers}: {len(there)} GPUs are enough for {len(shares)} fits with {each:g} each; lower "
            "--workers or --gpus-per-fit"
        )
    if workers > cores():
        raise UserError(f"--workers {workers}: this machine has {cores()} cores; lower it to at most that")
    share = share_of_cores(workers)
    return LocalEngine(workers, nice=0, threads=share if given else threads or share, gpus=shares[:workers])


def share_of_cores(workers: int) -> int:
    """Cores of each of so many fits at once."""
    return max(1, cores() // workers)


def _shares(there: Sequence[str], each: float) -> list[str]:
    """The GPUs that each worker sees."""
    if each < 1:
        return [gpu for gpu in there for _ in range(int(1 / each))]
    count = int(each)
    return [",".join(there[first : first + count]) for first in range(0, len(there) - count + 1, count)]


def _gpus() -> list[str]:
    """The GPUs that this process sees, as ``CUDA_VISIBLE_DEVICES`` names them."""
    import torch

    count = torch.cuda.device_count()  # opens none
    named = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return named[:count] if named else [str(number) for number in range(count)]
