"""How long a fit takes before one of its experiment is finished. Free of torch."""

from __future__ import annotations

import contextlib
import csv
from pathlib import Path
from statistics import fmean

from heldout.config import listed_minutes_of
from heldout.errors import UserError
from heldout.launch.forecast import forecast_fit
from heldout.launch.measure import read_measured, record_path
from heldout.tasks import Task
from heldout.train import runs


def expected_minutes(config: Task) -> float | None:
    """Minutes of a fit: by the epochs that were trained of any, else as planned here, else as listed for full runs.

    Args:
        config: The experiment, with its number of epochs.
    """
    seconds = [value for folder in runs.run_folder(config.spec).glob("seed*/fold*") for value in epoch_seconds(folder)]
    if seconds:
        return config.epochs * fmean(seconds) / 60
    path = record_path(config.spec)
    if path.exists():
        with contextlib.suppress(UserError):
            found = read_measured(path)
            if found.identity_hash == config.identity_hash():
                return forecast_fit(config, found).seconds / 60
    return listed_minutes_of(config.spec)


def epoch_seconds(folder: Path) -> list[float]:
    """Time of every finished epoch of a fit."""
    path = folder / "metrics.csv"
    if not path.exists():
        return []
    with open(path, encoding="utf-8", newline="") as table:
        names, *rows = list(csv.reader(table)) or [[]]
    return [float(row[names.index("seconds")]) for row in rows]
