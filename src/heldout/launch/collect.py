"""Run folders that were made elsewhere are taken in, checked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from heldout import files
from heldout.config import difference
from heldout.data.cases import open_dataset
from heldout.errors import UserError
from heldout.launch.kaggle_training import OUTPUT, SCHEMA, TrainingOutput
from heldout.launch.plan import Fit
from heldout.records import read_record
from heldout.tasks import load_task
from heldout.train import runs
from heldout.train.record import read_config


@dataclass(frozen=True)
class Collected:
    """Fits that :func:`collect` took in.

    Attributes:
        finished: Finished ones.
        begun: Such as go on here or in the next notebook.
        known: How many were here already, or further.
    """

    finished: tuple[Fit, ...]
    begun: tuple[Fit, ...]
    known: int


def collect(folder: Path) -> Collected:
    """Take in the run folders that a training notebook left, checked.

    Args:
        folder: The output of the notebook, as it was downloaded; fits whose folders were deleted are left out.

    Raises:
        UserError: a file is missing or changed, or a fit was trained with other settings, code or data than those of
            its experiment here, or differs from the one that is here.
    """
    again = "download the output of the notebook again"
    record = read_record(folder / OUTPUT, TrainingOutput, SCHEMA, again)
    by_fit: dict[str, list[str]] = {}
    for name in record.files:
        match = re.fullmatch(r"(runs/[^/]+/seed\d+/fold\d+)/.+", name)
        if match is None or not files.is_below(name):
            raise UserError(f"{folder / OUTPUT} lists {name}, which is not a file of a run: {again}")
        if (folder / match[1]).is_dir():  # or that fit is left out
            by_fit.setdefault(match[1], []).append(name)
    for name in (name for names in by_fit.values() for name in names):
        if not (folder / name).is_file() or files.sha256_file(folder / name) != record.files[name]:
            raise UserError(f"{folder / name} is missing or changed: {again}")
    finished, begun, known = [], [], 0
    for place, names in sorted(by_fit.items()):
        _, spec, seed, fold = place.split("/")
        fit = Fit(spec, int(seed.removeprefix("seed")), int(fold.removeprefix("fold")))
        source = folder / place
        if not runs.has_epoch(source):
            continue
        needed = ("config.json", "run.json", "weights.safetensors") if runs.is_finished(source) else ("config.json",)
        absent = next((file for file in needed if f"{place}/{file}" not in names), None)
        if absent is not None:
            raise UserError(f"{folder / OUTPUT} does not list {place}/{absent}: {again}")
        if not _take_in(fit, source, [Path(name).relative_to(place) for name in names]):
            known += 1
        elif runs.is_finished(source):
            finished.append(fit)
        else:
            begun.append(fit)
    return Collected(tuple(finished), tuple(begun), known)


def _take_in(fit: Fit, source: Path, names: Sequence[Path]) -> bool:
    """Put a fit in its place; False where it is here already, or further.

    Raises:
        UserError: it was not made from what is here, or differs from what is here.
    """
    config = load_task(fit.spec)
    dataset = open_dataset(config)
    made = read_config(source)
    changed = difference(config.complete(made.identity), config.identity())
    if changed:
        raise UserError(
            f"{source} was trained with other settings than {config.spec} has ({changed[0]}): restore them, or "
            "delete that folder to take in the others"
        )
    for name, what in (("data_hash", "cases"), ("fold_hash", "folds")):
        if getattr(made, name) != getattr(dataset, name):
            raise UserError(f"{source} was trained on other {what} than those in {dataset.folder}: restore them")
    here = {path: read_config(path) for path in runs.begun_folders(runs.run_folder(config.spec))}
    runs.check_numerics({**here, source: made})
    runs.check_code(config, source)
    if runs.is_finished(source):
        runs.check_weights(source)
    target = runs.fit_folder(config.spec, fit.seed, fit.fold)
    with files.lock(target, f"collecting {fit}"):
        if runs.is_finished(target):
            if runs.is_finished(source) and runs.read_run(source).sha256 != runs.read_run(target).sha256:
                raise UserError(f"{target} is finished and differs from {source}: delete one of the two")
            return False
        if not runs.is_finished(source) and _epochs(target) >= _epochs(source):
            return False
        for path in sorted(names, key=lambda path: path.name == "run.json"):
            files.write_bytes(target / path, (source / path).read_bytes())
    return True


def _epochs(folder: Path) -> int:
    path = folder / "metrics.csv"
    return len(path.read_text(encoding="utf-8").splitlines()) - 1 if path.exists() else 0
