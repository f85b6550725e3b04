"""Run folders: where they lie, what is in them, whether they belong to today's experiment. Free of torch."""

from __future__ import annotations

import contextlib
import functools
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from heldout import files
from heldout.config import BaseConfig, difference
from heldout.config.code import READER, changed_code, code_diff, code_of
from heldout.config.legacy import earlier_specs, today_spec
from heldout.config.metric import metric_source
from heldout.errors import UserError
from heldout.train.record import (
    AcceptedEdit,
    AcceptedRecord,
    ConfigRecord,
    MadeFrom,
    RunRecord,
    read_accepted,
    read_config,
    read_run,
    write_accepted,
    write_config,
)

if TYPE_CHECKING:
    from heldout.data.dataset import Dataset

# a change of these trains nothing again: other out-of-fold predictions are made from the same weights
OF_PREDICTION = frozenset({"tta", "overlap", "predict_precision"})
OF_DELIVERY = frozenset(
    {
        "predict_batch_size", "submission", "sample_submission", "detection_text", "detection_columns", "no_detection",
    }
)  # fmt: skip


@dataclass(frozen=True)
class FitRecord:
    """One finished fold of one seed.

    Attributes:
        seed: Its seed.
        fold: The fold held out.
        folder: Where its files lie.
        record: Its ``run.json``.
    """

    seed: int
    fold: int
    folder: Path
    record: RunRecord


@dataclass(frozen=True)
class RunInfo:
    """A run: the finished fits of one spec.

    Attributes:
        spec: Name of the experiment, with budget and overrides.
        folder: Where the run lies.
        config: Its ``config.json``.
        fits: By seed, then fold.
    """

    spec: str
    folder: Path
    config: ConfigRecord
    fits: tuple[FitRecord, ...]


def run_folder(spec: str) -> Path:
    """Folder of all seeds and folds of a spec; one made under an earlier name of the experiment stays in use."""
    runs, spec = files.home() / "working" / "runs", today_spec(spec)
    folders = [runs / name for name in (spec, *earlier_specs(spec))]
    return next((folder for folder in folders if folder.is_dir()), folders[0])


def fit_folder(spec: str, seed: int, fold: int) -> Path:
    """Folder of one fold of one seed."""
    return run_folder(spec) / f"seed{seed}" / f"fold{fold}"


def has_epoch(folder: Path) -> bool:
    """Whether a fold was trained for an epoch or more; before that there is nothing that a change could mix with."""
    return (folder / "state.pt").exists() or is_finished(folder)


def is_finished(folder: Path) -> bool:
    """Whether a fold is done: its record is written last."""
    return (folder / "run.json").exists()


def check_weights(folder: Path, sha256: Callable[[Path], str] = files.sha256_file) -> None:
    """Refuse a finished fold without the weights that it recorded; ``sha256`` hashes a file.

    Raises:
        UserError: the file is missing, or was changed after training.
    """
    path, record = folder / "weights.safetensors", read_run(folder)
    if not path.is_file() or sha256(path) != record.sha256.weights:
        what = "was changed after training" if path.is_file() else "is missing"
        raise UserError(f"{path} {what}: restore it, or delete the folder {folder} and run the command again")


def run_folders() -> list[Path]:
    """Folders of all runs, finished or not, sorted; none under an earlier name where there is one under today's."""
    folders = sorted((files.home() / "working" / "runs").glob("exp*"))
    return [folder for folder in folders if run_folder(folder.name) == folder]


def read_info(folder: Path, read: Callable[[Path], RunRecord] = read_run) -> RunInfo | None:
    """The finished fits of one run folder; None while there is none. ``read`` reads the record of a fit.

    Raises:
        UserError: a record is damaged.
    """
    fits = tuple(_fits(folder, read))
    return RunInfo(today_spec(folder.name), folder, read_config(fits[0].folder), fits) if fits else None


def find_weights(sha256: str) -> FitRecord | None:
    """The fit whose weights have a SHA-256; None where there is none. Damaged runs are passed over."""
    return next((fit for fit in all_fits() if fit.record.sha256.weights == sha256), None)


def all_fits() -> Iterator[FitRecord]:
    """Every finished fit of every run; damaged runs are passed over."""
    for folder in run_folders():
        with contextlib.suppress(UserError):
            yield from _fits(folder)


def finished(config: BaseConfig, read: Callable[[Path], RunRecord] = read_run) -> list[tuple[int, int, Path]]:
    """Seed, fold and folder of every finished fold of an experiment, sorted. ``read`` reads the record of a fit.

    Raises:
        UserError: they were trained with other settings.
    """
    folder = run_folder(config.spec)
    check_identity(config)
    return [(fit.seed, fit.fold, fit.folder) for fit in _fits(folder, read)]


def _fits(folder: Path, read: Callable[[Path], RunRecord] = read_run) -> Iterator[FitRecord]:
    records = [(path.parent, read(path.parent)) for path in folder.glob("seed*/fold*/run.json")]
    for path, record in sorted(records, key=lambda pair: (pair[1].seed, pair[1].fold)):
        yield FitRecord(record.seed, record.fold, path, record)


def begun_folders(run: Path) -> list[Path]:
    """Folders of folds that hold an epoch or are being trained: settings, code and data must agree with theirs."""
    folders = [path.parent for path in sorted(run.glob("seed*/fold*/config.json"))]
    return [folder for folder in folders if has_epoch(folder) or files.is_locked(folder)]


def check_identity(config: BaseConfig, dataset: Dataset | None = None, *, predictions: bool = False) -> None:
    """Refuse to mix settings, data, CPU threads or number formats within a run: its folds count as one experiment.

    Code: :func:`check_code`. Settings of the delivery may differ, and those of the prediction unless ``predictions``
    that were stored in training are used as they are.

    Raises:
        UserError: a fold of the run was trained with other settings, or on other cases or folds, or is at this moment.
    """
    identity, records = config.identity(), {}
    for folder in begun_folders(run_folder(config.spec)):
        stored = records[folder] = read_config(folder)
        later = OF_DELIVERY if predictions else OF_DELIVERY | OF_PREDICTION
        hooks = stored.code is None  # it holds them too, for :func:`check_code` to compare
        recorded = _compared(config.complete(stored.identity), later, hooks)
        changed = difference(recorded, _compared(identity, later, hooks))
        if changed and getattr(config, "imported", None) is None:
            raise UserError(
                f"{folder} was trained with other settings ({'; '.join(changed)}): keep both by making a new "
                f"experiment file or with --set, or delete {run_folder(config.spec)} to start again"
            )
        for name, what in (("data_hash", "cases"), ("fold_hash", "folds")):
            if dataset is not None and getattr(stored, name) != getattr(dataset, name):
                raise UserError(
                    f"{folder} was trained on other {what} than those in {dataset.folder} ({name} differs): "
                    f"restore them, or delete {run_folder(config.spec)} to start again"
                )
    check_numerics(records)


def check_numerics(records: Mapping[Path, ConfigRecord]) -> None:
    """Refuse fits of a run of which one was trained with other threads, or in another number format or layout.

    Args:
        records: What every fit was trained with, by its folder.

    Raises:
        UserError: there is one; names both.
    """
    seen: dict[str, tuple[object, Path]] = {}
    for folder, record in records.items():
        for what, value in (
            ("with {} threads", record.threads),
            ("in {}", record.precision),
            ("with channels_last = {}", record.channels_last),
            ("with compile = {}", record.compiled),
        ):
            first, other = seen.setdefault(what, (value, folder)) if value is not None else (None, folder)
            if value != first:
                raise UserError(
                    f"{folder} was trained {what.format(value)}, and {other} {what.format(first)}, while all fits of a "
                    "run are trained alike: delete one of the two folders and train that fit again"
                )


def _compared(identity: dict[str, Any], later: Collection[str], hooks: bool) -> dict[str, Any]:
    """The parts of an identity, without fields that may change later, and perhaps without hooks."""
    parts = {part: values for part, values in identity.items() if hooks or part != "hooks"}
    return {**parts, "fields": {name: value for name, value in parts.get("fields", {}).items() if name not in later}}


def check_code(config: BaseConfig, arriving: Path | None = None) -> None:
    """Refuse to mix code within a run: all its folds count as one experiment.

    Args:
        config: The experiment.
        arriving: A fold trained elsewhere that is to become one of the run.

    Raises:
        UserError: the experiment reaches other code today than a fold was trained with; names it and shows the diff.
    """
    run = run_folder(config.spec)
    today = functools.cache(functools.partial(_code, config))
    edits = [edit for edit in read_accepted(run).edits if not changed_code(edit.code, today(edit.code_reader))]
    for folder, (code, reader) in _codes(run, arriving).items():
        if code is None or any(edit.code_reader >= reader for edit in edits):
            continue
        if changed := changed_code(code, today(reader)):
            more = f" and {len(changed) - 1} others" if len(changed) > 1 else ""
            raise UserError(
                f"{changed[0]}{more} changed since {folder} was trained: undo that, or if it changes no result, run "
                f'`python run.py accept {config.spec} --reason "why"`',
                code_diff(code, today(reader), changed[0]).splitlines(),
            )


def _code(config: BaseConfig, reader: int = READER) -> dict[str, str]:
    """Code that training depends on: that of the user's own metric too, where it chooses the checkpoint.

    Predictions that were made elsewhere depend on none. ``reader`` is the version of what reads it: a run is compared
    with what the one that recorded it saw.
    """
    if getattr(config, "imported", None) is not None:
        return {}
    of_metric = metric_source(config.metric, reader) if config.checkpoint == "best" else {}
    return code_of(type(config), reader) | of_metric


def records_code(spec: str) -> bool:
    """Whether all folds of a run say with which code they were trained; those of earlier versions do not."""
    return all(code is not None for code, _ in _codes(run_folder(spec)).values())


def _codes(run: Path, arriving: Path | None = None) -> dict[Path, tuple[dict[str, str] | None, int]]:
    """Code that every fold of a run, and one to come, was trained with, and the version of what read it."""
    records = {folder: read_config(folder) for folder in [*begun_folders(run), *([arriving] if arriving else [])]}
    return {folder: (record.code, record.code_reader) for folder, record in records.items()}


def accept_code(config: BaseConfig, reason: str) -> list[str]:
    """Record that edits of the code since a run was trained are harmless; names of what changed.

    Raises:
        UserError: there is no reason, or nothing changed.
    """
    run, today = run_folder(config.spec), functools.cache(functools.partial(_code, config))
    trained = [(code, reader) for code, reader in _codes(run).values() if code is not None]
    changed = sorted({name for code, reader in trained for name in changed_code(code, today(reader))})
    if not reason.strip():
        raise UserError('--reason is empty: say why the edit changes no result, as --reason "renamed a variable"')
    if not changed:
        raise UserError(f"the code of {config.spec} is that which {run} was trained with: nothing to accept")
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    edit = AcceptedEdit(time=now, reason=reason.strip(), code=today(READER), code_reader=READER)
    write_accepted(run, AcceptedRecord(edits=(*read_accepted(run).edits, edit)))
    return changed


def begin_fit(
    config: BaseConfig,
    dataset: Dataset,
    folder: Path,
    made_from: MadeFrom,
    threads: int | None = None,
    opened: BaseConfig | None = None,
) -> None:
    """Write ``config.json``, what a fold is trained with, unless it holds an epoch.

    Args:
        config: The experiment.
        dataset: The checked dataset.
        folder: The fold's folder.
        made_from: What besides the dataset it is made from.
        threads: CPU threads that it is trained with; None on a GPU.
        opened: The experiment with the number format, memory layout and compilation that it is trained with.

    Raises:
        UserError: the fold was begun from something else.
    """
    if has_epoch(folder):
        begun = read_config(folder)
        changed = difference(begun.made_from.to_json(), made_from.to_json())
        if changed:
            raise UserError(
                f"{folder} was started from something that has changed since ({changed[0]}): restore it, or "
                f"delete {folder} to start again"
            )
        today = {name: getattr(config, name) for name in OF_PREDICTION}
        if any(getattr(begun.settings, name) != value for name, value in today.items()):  # it will be predicted so
            views = {"config": {**begun.config, **today}, "identity": config.identity()}
            write_config(folder, begun.model_copy(update={**views, "identity_hash": config.identity_hash()}))
        return
    record = ConfigRecord(
        spec=config.spec,
        title=config.title,
        parent=config.parent_name(),
        identity=config.identity(),
        identity_hash=config.identity_hash(),
        config=config.model_dump(mode="json"),
        classes=dataset.classes,
        exclusive=dataset.exclusive,
        fold_hash=dataset.fold_hash,
        data_hash=dataset.data_hash,
        made_from=made_from,
        code=_code(config),
        code_reader=READER,
        threads=threads,
        precision=opened.precision if opened else None,
        channels_last=opened.channels_last if opened else None,
        compiled=opened.compile if opened else None,
    )
    write_config(folder, record)


def forget(folder: Path) -> None:
    """Delete a fold that holds no epoch, and the folders of its seed and run where nothing else is in them."""
    shutil.rmtree(folder)
    for parent in folder.parents[:2]:
        if not any(parent.iterdir()):
            parent.rmdir()


def check_made_alike(
    spec: str, field: Literal["first_stage", "encoder_weights"], value: str, made: str, source: Path
) -> None:
    """All folds of a run must be made from the same.

    Args:
        spec: The run.
        field: Of what they were made from.
        value: The hash of it today.
        made: How they were, for the complaint: ``trained on maps that have changed since``.
        source: What to restore.

    Raises:
        UserError: a fold was made from something else.
    """
    for folder in begun_folders(run_folder(spec)):
        recorded = getattr(read_config(folder).made_from, field)
        if recorded is not None and recorded != value:  # None: begun before that field existed
            raise UserError(f"{folder} was {made}: restore {source}, or delete {run_folder(spec)} to start again")
