"""One fit in a process of its own: ``python -m heldout.launch.worker NICE SPEC SEED FOLD MINUTES``."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from pathlib import Path

from heldout import files
from heldout.errors import UserError
from heldout.launch.plan import Fit
from heldout.tasks import load_task
from heldout.train import runs


def main() -> int:
    """Train the fit that the arguments name; 0 done, 2 the user can mend it, 130 stopped."""
    nice, spec, seed, fold, minutes = sys.argv[1:]
    set_priority(int(nice))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        train(Fit(spec, int(seed), int(fold), float(minutes) if minutes else None))
    except UserError as error:
        print(f"error: {' '.join(str(error).split())}", flush=True)
        return 2
    except KeyboardInterrupt:
        print("stopped", flush=True)
        return 130
    return 0


def train(fit: Fit) -> Path:
    """Train a fit, or resume it; waits for another process that trains it.

    Raises:
        UserError: it cannot be trained.
    """
    from heldout.train.fit import run_experiment
    from heldout.train.minutes import within_minutes

    config = load_task(fit.spec)
    if fit.minutes is not None:
        config, _ = within_minutes(config, fit.minutes, fit.seed, fit.fold)
    folder = runs.fit_folder(config.spec, fit.seed, fit.fold)
    if folder.is_dir():
        with files.lock(folder, f"waiting to train {fit}", wait=True):
            pass
    return run_experiment(config, [fit.fold], [fit.seed])[0]


def set_priority(nice: int) -> None:
    """Give way to other processes: to those of this session by the nice value, to other sessions by that of the group.

    Linux schedules the processes of a session as one group, in which alone nice values compare.
    """
    os.setpriority(os.PRIO_PROCESS, 0, nice)
    with contextlib.suppress(OSError):  # another system, or a kernel without such groups
        Path("/proc/self/autogroup").write_text(str(nice), encoding="utf-8")


def _end_with_parent() -> None:
    """Wait for the end of the standard input, which the parent holds open, and stop this process then."""
    while os.read(sys.stdin.fileno(), 1):  # a buffered read would hold a lock that the end of the interpreter needs
        pass
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(20)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
