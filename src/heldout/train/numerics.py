"""What the last bits of a fit depend on besides its key: CPU threads and number format, the same for all fits of a run.

The first fit of a run chooses them and records them in its ``config.json``; all others have the same. Free of torch.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from heldout import files
from heldout.config import BaseConfig
from heldout.errors import InUse
from heldout.train.record import read_config
from heldout.train.runs import begun_folders, has_epoch, run_folder

LOOK_SECONDS = 0.5


def fit_threads(config: BaseConfig, folder: Path) -> int | None:
    """CPU threads that a fit must have: those it was begun with, else those of its run; None where nothing says."""
    if has_epoch(folder) and (own := read_config(folder).threads) is not None:
        return own
    return run_threads(config)


def run_threads(config: BaseConfig) -> int | None:
    """CPU threads that further fits of a run must have; None while neither a field nor a fit says."""
    recorded = [read_config(folder).threads for folder in begun_folders(run_folder(config.spec))]
    return next((threads for threads in [config.threads, *recorded] if threads is not None), None)


def fit_precision(config: BaseConfig, folder: Path) -> str | None:
    """Number format of a fit: that which it was begun in, else that of its run; None where nothing says."""
    known = [*([folder] if has_epoch(folder) else []), *begun_folders(run_folder(config.spec))]
    recorded = (read_config(one).precision for one in known)
    return next((precision for precision in recorded if precision is not None), None)


@contextlib.contextmanager
def beginning(config: BaseConfig, folder: Path, *, wait: bool) -> Iterator[None]:
    """Look up threads and number format within, and record them: of a run that has none, one fit at a time may.

    Two that begin together on unlike machines would choose differently.

    Args:
        config: The experiment.
        folder: Where the fit lies; it is not held yet.
        wait: Wait for another fit that chooses, here or on a node that this machine has sent it to.

    Raises:
        InUse: there is one, and it is not waited for.
    """
    if fit_precision(config, folder) is not None:
        yield
        return
    run = run_folder(config.spec)
    with files.lock(files.home() / "working" / "launch" / run.name, f"beginning {config.spec}", wait=wait):
        while fit_precision(config, folder) is None and (other := _chooses(run, folder)) is not None:
            if not wait:
                raise InUse(f"{other} chooses the number format of {config.spec}: wait for it, or stop it")
            time.sleep(LOOK_SECONDS)
        yield


def _chooses(run: Path, mine: Path) -> Path | None:
    """Another fit that is being trained and whose record is not yet here."""
    others = (path for path in sorted(run.glob("seed*/fold*")) if path != mine)
    return next((path for path in others if not (path / "config.json").exists() and files.is_locked(path)), None)
