"""One fit in a process of its own: ``python -m heldout.launch.worker ORDER``, an :class:`Order` as JSON."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from heldout import files, signals
from heldout.errors import InUse, UserError
from heldout.launch.engine import STOPPED, TIME_IS_UP
from heldout.launch.plan import Fit
from heldout.tasks import load_task
from heldout.train import runs


@dataclass(frozen=True)
class Order:
    """What a process is to do.

    Attributes:
        fit: The fit to train.
        nice: Nice value of the process.
        loaders: Loading processes; None leaves that to the experiment.
        until: When to stop after the current epoch, in seconds since 1970; None is never.
        threads: CPU threads; None is what the process takes by itself.
        packs: Packed datasets to unpack first, where no folder is shared.
        precision: Number format of the other fits of its run, where no folder is shared; None is as here.
    """

    fit: Fit
    nice: int
    loaders: int | None = None
    until: float | None = None
    threads: int | None = None
    packs: Sequence[str] = ()
    precision: str | None = None

    def command(self) -> list[str]:
        """What to call, without the name of the interpreter."""
        return ["-m", "heldout.launch.worker", json.dumps(asdict(self))]


def threads_environment(threads: int | None) -> dict[str, str]:
    """What a process with a number of CPU threads has in its environment; None leaves them as they are."""
    names = () if threads is None else ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return dict.fromkeys(names, str(threads))


def own_modules() -> dict[str, str]:
    """What lets another process import what this one does, and not what lies in the folder where it is started."""
    return {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "PYTHONSAFEPATH": "1"}


class TimeIsUp(Exception):  # noqa: N818 - a message to the loop, no error
    """Ends a training whose last epoch is on the disk."""


def main() -> int:
    """Train the fit of the order; 0 done, 2 the user can fix it, 3 stopped after an epoch, 130 stopped."""
    words = json.loads(sys.argv[1])
    order = Order(**{**words, "fit": Fit(**words["fit"])})
    set_priority(order.nice)
    threading.Thread(target=end_with_parent, daemon=True).start()
    try:
        return exit_code(lambda: train(order))
    except TimeIsUp:
        print("the time is up", flush=True)
        return TIME_IS_UP


def exit_code(work: Callable[[], object]) -> int:
    """Do the work of an engine's process, with the last line of its log: 0 done, 2 the user can fix it, 130 stopped."""
    signals.heed()
    try:
        work()
    except (KeyboardInterrupt, signals.Terminated):
        pass
    except UserError as error:
        if not signals.came():
            print(f"error: {' '.join(str(error).split())}", flush=True)
            return 2
    except RuntimeError:
        if not signals.came():
            raise
    else:
        return 0
    finally:
        signals.arrived()
    print("stopped", flush=True)
    return STOPPED


def train(order: Order) -> Path:
    """Train a fit, or resume it; waits for another process that trains it.

    Raises:
        UserError: it cannot be trained.
        TimeIsUp: it is not finished, and what is done is on the disk.
    """
    import torch

    from heldout.train.fit import run_experiment
    from heldout.train.minutes import within_minutes

    if order.packs:
        from heldout.data.pack.read import unpack

        for pack in order.packs:
            unpack(Path(pack), progress=False)
    if order.threads is not None:
        torch.set_num_threads(order.threads)
    fit = order.fit
    config = load_task(fit.spec)
    if fit.minutes is not None:
        config, _ = within_minutes(config, fit.minutes, fit.seed, fit.fold)
    folder = runs.fit_folder(config.spec, fit.seed, fit.fold)
    if order.loaders is not None:  # outside the identity of a run, and therefore no part of its name
        config = config.model_copy(update={"workers": order.loaders})

    def watch(_: object) -> None:
        if order.until is not None and time.time() > order.until:
            raise TimeIsUp

    while True:
        try:
            return run_experiment(config, [fit.fold], [fit.seed], watch=watch, precision=order.precision)[0]
        except InUse:
            with files.lock(folder, f"waiting to train {fit}", wait=True):
                pass


def set_priority(nice: int) -> None:
    """Give way to other processes: to those of this session by the nice value, to other sessions by that of the group.

    Linux schedules the processes of a session as one group, in which alone nice values compare.
    """
    os.setpriority(os.PRIO_PROCESS, 0, nice)
    with contextlib.suppress(OSError):  # another system, or a kernel without such groups
        Path("/proc/self/autogroup").write_text(str(nice), encoding="utf-8")


def end_with_parent() -> None:
    """Wait for the end of the standard input, which the parent holds open, and stop this process then."""
    while os.read(sys.stdin.fileno(), 1):  # a buffered read would hold a lock that the end of the interpreter needs
        pass
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(20)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
