"""A blend of some cases that a fit held out, in a process of its own: ``python -m heldout.launch.measure_blend``.

Its first pass takes what a blend takes, imports included; the time of a case is that of later passes.
"""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from heldout.errors import UserError
from heldout.tasks import Task, load_task

if TYPE_CHECKING:
    import pandas as pd

    from heldout.blend.members import Member
    from heldout.blend.objective import Objective
    from heldout.data.dataset import Dataset


@dataclass(frozen=True)
class MeasuredBlend:
    """What a blend takes, in seconds.

    Attributes:
        open: Of its process, without what its cases take.
        read: Of reading the stored prediction and the truth of a case.
        tune: Of a case in a tuning; 0 where so few cases leave the score undefined.
        interval: Of the score's interval over all training cases; 0 likewise.
    """

    open: float
    read: float
    tune: float
    interval: float


def time_blend(spec: str, folder: Path) -> MeasuredBlend:
    """Blend the cases whose predictions lie in a folder, in a process of its own.

    Args:
        spec: The experiment.
        folder: As that of a finished fit, with predictions of some of its cases.

    Raises:
        UserError: they cannot be blended.
    """
    words = [sys.executable, "-m", "heldout.launch.measure_blend", spec, str(folder)]
    begun = time.perf_counter()
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    whole = time.perf_counter() - begun
    if done.returncode:
        raise UserError(f"{spec} cannot be blended: {(done.stderr.strip().splitlines() or [''])[-1]}")
    found = json.loads(done.stdout.strip().splitlines()[-1])
    further, cases = found.pop("further"), found.pop("cases")
    left = whole - further - cases * (found["read"] + found["tune"])
    return MeasuredBlend(open=max(0.0, left), **found)


def time_command() -> float:
    """Seconds that a command takes which only tells what it can do."""
    words = [sys.executable, "-c", "from heldout.cli import main; main()", "blend", "--help"]
    begun = time.perf_counter()
    subprocess.run(words, capture_output=True, check=True)
    return time.perf_counter() - begun


def _measure(spec: str, folder: Path) -> dict[str, float]:
    from heldout.blend.cases import build_objective
    from heldout.blend.crossfit import crossfit
    from heldout.blend.search import SearchPlan
    from heldout.train import runs

    config = load_task(spec)
    member = _member(config, folder)
    runs.check_weights(folder)
    objective = build_objective([member], config.metric, progress=False)
    table = None
    with contextlib.suppress(UserError):  # so few cases may leave the score undefined
        table = crossfit(objective, SearchPlan(), names=[spec]).in_sample
        table.to_parquet(io.BytesIO(), index=False)
    begun, count = time.perf_counter(), len(member.cases)
    reading = _seconds(lambda: build_objective([replace(member)], config.metric, progress=False)) / count
    tuning = intervals = 0.0
    if table is not None:
        tuning = _tuning(objective)
        intervals = _interval(config, member.dataset, table)
    further = time.perf_counter() - begun
    return {"read": reading, "tune": tuning, "interval": intervals, "further": further, "cases": count}


def _member(config: Task, folder: Path) -> Member:
    """The fit with the cases that it has predicted."""
    from heldout.blend.members import Member, OpenFit
    from heldout.blend.session import Session
    from heldout.predict.store import read_table

    session = Session()
    dataset, record, table = session.dataset(config), session.run(folder), read_table(folder, "oof")
    cases = dataset.part("train")
    cases = cases[cases["case_id"].isin(table["case_id"])].assign(fold=record.fold).reset_index(drop=True)
    fit = OpenFit(
        record.seed, record.fold, folder, record, table.set_index("case_id"), folder, record.sha256, "32-true"
    )
    return Member(config.spec, config.spec, config, config.tta, (record.seed,), dataset, (fit,), cases, session)


def _tuning(objective: Objective) -> float:
    """Seconds of a case, from all cases and from half of them."""
    count = len(objective.frame)
    half = np.arange(count) % 2 == 0
    found = {count: _seconds(lambda: objective.tune([1000]))}
    with contextlib.suppress(UserError):  # half of them may leave the score undefined
        found[int(half.sum())] = _seconds(lambda: objective.select(half).tune([1000]))
    (more, long), (fewer, short) = (*found.items(), (0, 0.0))[:2]
    return max(0.0, long - short) / max(more - fewer, 1)


def _interval(config: Task, dataset: Dataset, table: pd.DataFrame) -> float:
    """Seconds of an interval over all training cases, as if these were predicted like a few."""
    from heldout.metrics.left_out import ScoresLeftOut
    from heldout.metrics.registry import get_metric
    from heldout.metrics.tables import columns_of

    rows, metric = dataset.part("train"), get_metric(config.metric)
    like = table.iloc[np.arange(len(rows)) % len(table)].reset_index(drop=True)
    patients = rows["patient_id"].to_numpy(str)
    like = like.assign(case_id=rows["case_id"].to_numpy(), patient_id=patients)
    columns = columns_of(metric.view(like, dataset.classes), dataset.classes, regression=config.kind == "regression")
    work = ScoresLeftOut(config.metric, (columns,), patients)
    metric.value(columns)  # checks a function of the user's
    return _seconds(lambda: work.block(0)) * work.left_out.blocks


def _seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def main() -> int:
    """Print the measurement as a line of JSON."""
    spec, folder = sys.argv[1:]
    print(json.dumps(_measure(spec, Path(folder))), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
