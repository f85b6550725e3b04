"""Run folders that were made elsewhere are taken in, checked."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
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
    """Take in the run folders that a training notebook left: all of them once all are checked, or none.

    Args:
        folder: The output of the notebook, as it was downloaded; fits whose folders were deleted are left out.

    Raises:
        UserError: this is no output of a training notebook, a file is missing or changed, or a fit was trained with
            other settings, code or data than those of its experiment here, or differs from the one that is here.
    """
    again = "download the output of the notebook again"
    if not (folder / OUTPUT).is_file():
        raise UserError(
            f"{folder} holds no {OUTPUT}: give the directory of a training notebook's output, or the notebook's name, "
            "as user/name"
        )
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
    found: dict[Fit, tuple[Path, list[Path]]] = {}
    for place, names in sorted(by_fit.items()):
        _, spec, seed, fold = place.split("/")
        source = folder / place
        if not runs.has_epoch(source):
            continue
        needed = ("config.json", "run.json", "weights.safetensors") if runs.is_finished(source) else ("config.json",)
        absent = next((file for file in needed if f"{place}/{file}" not in names), None)
        if absent is not None:
            raise UserError(f"{folder / OUTPUT} does not list {place}/{absent}: {again}")
        fit = Fit(spec, int(seed.removeprefix("seed")), int(fold.removeprefix("fold")))
        found[fit] = source, [Path(name).relative_to(place) for name in names]
    for spec in dict.fromkeys(fit.spec for fit in found):
        _check(spec, {fit: source for fit, (source, _) in found.items() if fit.spec == spec})
    finished, begun, known = [], [], 0
    for fit, (source, paths) in found.items():
        if not _take_in(fit, source, paths):
            known += 1
        elif runs.is_finished(source):
            finished.append(fit)
        else:
            begun.append(fit)
    return Collected(tuple(finished), tuple(begun), known)


def _check(spec: str, sources: Mapping[Fit, Path]) -> None:
    """Refuse fits of an experiment that were not made from what is here, or differ from what is here.

    Raises:
        UserError: naming the first of them.
    """
    config = load_task(spec)
    dataset = open_dataset(config)
    numerics = {path: read_config(path) for path in runs.begun_folders(runs.run_folder(spec))}
    for fit, source in sources.items():
        made = read_config(source)
        changed = difference(config.complete(made.identity), config.identity())
        if changed:
            raise UserError(
                f"{source} was trained with other settings than {spec} has ({changed[0]}): restore them, or "
                "delete that folder to take in the others"
            )
        for name, what in (("data_hash", "cases"), ("fold_hash", "folds")):
            if getattr(made, name) != getattr(dataset, name):
                raise UserError(
                    f"{source} was trained on other {what} than those in {dataset.folder}: restore them, or delete "
                    "that folder to take in the others"
                )
        numerics[source] = made
        runs.check_numerics(numerics)
        runs.check_code(config, source)
        if runs.is_finished(source):
            runs.check_weights(source)
            _refuse_another(runs.fit_folder(spec, fit.seed, fit.fold), source)


def _refuse_another(target: Path, source: Path) -> None:
    if runs.is_finished(target) and runs.read_run(source).sha256 != runs.read_run(target).sha256:
        raise UserError(f"{target} is finished and differs from {source}: delete one of the two")


def _take_in(fit: Fit, source: Path, names: Sequence[Path]) -> bool:
    """Put a checked fit in its place; False where it is here already, or further.

    Raises:
        UserError: it differs from what was finished here meanwhile.
    """
    target = runs.fit_folder(fit.spec, fit.seed, fit.fold)
    with files.lock(target, f"collecting {fit}"):
        if runs.is_finished(target):
            if runs.is_finished(source):
                _refuse_another(target, source)
            return False
        if not runs.is_finished(source) and _epochs(target) >= _epochs(source):
            return False
        for path in sorted(names, key=lambda path: path.name == "run.json"):
            files.write_bytes(target / path, (source / path).read_bytes())
    return True


def _epochs(folder: Path) -> int:
    path = folder / "metrics.csv"
    return len(path.read_text(encoding="utf-8").splitlines()) - 1 if path.exists() else 0
