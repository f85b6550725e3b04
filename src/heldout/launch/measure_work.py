"""A blend and a prediction of cases that a fit held out, each measured in a process of its own.

``python -m heldout.launch.measure_work blend|predict SPEC FOLDER`` first does what the command does, imports included;
the time of a case is that of later passes.
"""

from __future__ import annotations

import contextlib
import importlib
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
    whole, found = _time("blend", spec, folder)
    further, cases = found.pop("further"), found.pop("cases")
    left = whole - further - cases * (found["read"] + found["tune"])
    return MeasuredBlend(open=max(0.0, left), **found)


def time_prediction(spec: str, folder: Path, each: float) -> float:
    """Seconds that the process of a prediction takes without its cases.

    Args:
        spec: The experiment.
        folder: As that of a finished fit.
        each: Seconds of a case.

    Raises:
        UserError: its cases cannot be predicted.
    """
    whole, found = _time("predict", spec, folder)
    return max(0.0, whole - found["cases"] * each)


def _time(what: str, spec: str, folder: Path) -> tuple[float, dict[str, float]]:
    """Seconds of a process of this module, and what it tells."""
    words = [sys.executable, "-m", "heldout.launch.measure_work", what, spec, str(folder)]
    begun = time.perf_counter()
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    whole = time.perf_counter() - begun
    if done.returncode:
        raise UserError(f"{spec}: its {what} cannot be measured: {(done.stderr.strip().splitlines() or [''])[-1]}")
    return whole, json.loads(done.stdout.strip().splitlines()[-1])


def time_command() -> float:
    """Seconds that a command takes which only tells what it can do."""
    words = [sys.executable, "-c", "from heldout.cli import main; main()", "blend", "--help"]
    begun = time.perf_counter()
    subprocess.run(words, capture_output=True, check=True)
    return time.perf_counter() - begun


def _blend(spec: str, folder: Path) -> dict[str, float]:
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


def _predict(spec: str, folder: Path) -> dict[str, float]:
    importlib.import_module("heldout.deliver.predict_folder")
    importlib.import_module("heldout.blend.verify")
    from heldout.blend.apply import predict_case
    from heldout.train import runs

    config = load_task(spec)
    member = _member(config, folder)
    runs.check_weights(folder)
    network, dataset = member.session.network(config, folder / "weights.safetensors", member.dataset), member.dataset
    few = [] if config.first_stage else member.cases["case_id"].head(1).to_list()  # its maps are not at hand
    for case_id in few:
        predict_case(config, [network], case_id, dataset.read_image(case_id), exclusive=dataset.exclusive)
    return {"cases": len(few)}


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
    what, spec, folder = sys.argv[1:]
    print(json.dumps({"blend": _blend, "predict": _predict}[what](spec, Path(folder))), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
