"""The engine of this machine: one process for each fit, at a low priority."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from heldout.launch.plan import Fit
from heldout.launch.worker import Order

STOP_SECONDS = 30.0


@dataclass
class LocalEngine:
    """Trains fits in processes of this machine.

    Attributes:
        workers: How many at once.
        nice: Their nice value: 19 gives way to everything else, 0 to nothing.
        loaders: Loading processes of each; None leaves that to the experiment. No result depends on them.
        until: When they stop after their current epoch, in seconds since 1970; None is never.
    """

    workers: int = 1
    nice: int = 19
    loaders: int | None = None
    until: float | None = None

    def start(self, fit: Fit, log: Path) -> LocalJob:
        """Start a fit, or resume it."""
        log.parent.mkdir(parents=True, exist_ok=True)
        order = Order(fit, self.nice, self.loaders, self.until)
        with open(log, "ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "heldout.launch.worker", json.dumps(asdict(order))],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
                stdin=subprocess.PIPE,  # its end tells the worker that this process has ended, however that happened
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a Ctrl-C reaches this process only, and the priority is of the worker only
            )
        return LocalJob(process)


@dataclass(frozen=True)
class LocalJob:
    """A process that trains one fit."""

    process: subprocess.Popen[bytes]

    def poll(self) -> int | None:
        """Its exit code; None while it works."""
        return self.process.poll()

    def stop(self) -> None:
        """End it as Ctrl-C does, and by force after half a minute."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
