"""Is what would be used what was validated? Every part of a decision, hashed again and compared."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from heldout import files
from heldout.blend.apply import OpenDecision
from heldout.blend.decision import Decision, load_decision
from heldout.blend.flips import predictions_folder, read_hashes
from heldout.blend.postprocess import hook_hash
from heldout.blend.records import FitRef
from heldout.blend.reference import check_reference
from heldout.blend.session import Session
from heldout.config.code import EARLIER, READER
from heldout.config.metric import metric_code
from heldout.errors import UserError, note
from heldout.tasks import Task
from heldout.tasks.base import load_task
from heldout.train.record import read_config
from heldout.train.runs import check_code, check_identity, fit_folder, records_code

_READERS = range(READER, EARLIER - 1, -1)  # a decision does not say which of them read its code
Refusal = str | UserError  # what changed in words, or the error that says so


def verify(decision: Decision, session: Session | None = None, *, maps: bool = False) -> OpenDecision:
    """Refuse a decision that is not what was validated.

    A blend must be sealed; an experiment's plain mean has no seal, but its files must be those that training left.

    Args:
        decision: The decision.
        session: What the command has opened already.
        maps: Also read every out-of-fold map, which takes as long as reading so many files does.

    Raises:
        UserError: it is not frozen, was edited, or any of its parts changed; lists all changes.
    """
    if decision.is_blend and decision.seal is None:
        raise UserError(f"blend {decision.name} is not frozen: run `python run.py freeze {decision.name}` first")
    session = session or Session()
    changes: list[Refusal] = []
    if decision.seal is not None and decision.compute_seal() != decision.seal:
        changes.append(f"the decision {decision.name} itself was edited")
    changes += check_parts(decision, session)
    if maps and not changes:
        changes += check_maps(decision)
    if not changes:
        changes += check_reference(decision, session)
    refuse_changes(decision, changes)
    return OpenDecision(decision, session)


def open_decision(name: str) -> OpenDecision:
    """Read and verify a decision; what was opened for that is handed down with it.

    Args:
        name: Name of a blend or spec of an experiment.

    Raises:
        UserError: as :func:`heldout.blend.decision.load_decision` and :func:`verify`.
    """
    session = Session()
    return verify(load_decision(name, session), session)


def refuse_changes(decision: Decision, changes: Sequence[Refusal]) -> None:
    """Raise one error that lists all changes, if any.

    Raises:
        UserError: something changed.
    """
    if changes:
        raise UserError(
            f"{decision.name} is not what was validated: {'; '.join(map(str, changes))}. Restore these, or blend again "
            "under a new name",
            [line for one in changes if isinstance(one, UserError) for line in one.details],
        )


def check_parts(decision: Decision, session: Session) -> list[Refusal]:
    """What changed among settings, fold table, data, weights, out-of-fold predictions and the blend's own tables."""
    changes: list[Refusal] = [*_metric(decision), *_postprocess(decision), *_tables(decision)]
    for member in decision.predictors:
        config = _tried(changes, load_task, member.spec)
        if config is None:
            continue
        before = len(changes)
        _tried(changes, check_identity, config)
        if "/tta=" not in getattr(member, "name", "") and set(config.tta) != set(member.tta):
            changes.append(f"{member.spec} flips {config.tta or 'nothing'} today and {member.tta or 'nothing'} then")
        if decision.seal is None:  # of a sealed decision the reference predictions decide
            _tried(changes, check_code, config)
        if not records_code(member.spec):
            note(f"{member.spec} was trained by an earlier version: the code that its hooks call is not sealed")
        if len(changes) > before:
            continue
        if (dataset := _tried(changes, session.dataset, config)) is not None:
            for name, what in (("fold_hash", "fold table"), ("data_hash", "cases")):
                if getattr(dataset, name) != getattr(decision, name):
                    changes.append(f"the {what} in {dataset.folder} changed")
        for fit in member.folders:
            changes += _tried(changes, lambda c=config, f=fit, tta=member.tta: list(_files(c, f, tta, session))) or []
    return list({str(one): one for one in changes}.values())


def check_maps(decision: Decision) -> list[str]:
    """Which out-of-fold maps changed; reads them all."""
    changes: list[str] = []
    for member in decision.predictors:
        config = load_task(member.spec)
        for fit in member.folders:
            folder = fit_folder(member.spec, fit.seed, fit.fold)
            predictions = predictions_folder(config, folder, member.tta)
            if not predictions.is_dir():  # :func:`check_parts` says so
                continue
            for case_id, digest in read_hashes(config, folder, member.tta).maps.items():
                changes += _compare(predictions / "oof_maps" / f"{case_id}.b2nd", digest)
    return changes


def _metric(decision: Decision) -> Iterator[str]:
    code = decision.search.metric_code
    if code is not None and all([code] != metric_code(decision.metric, reader) for reader in _READERS):
        yield f"the code of metric {decision.metric} changed"


def _postprocess(decision: Decision) -> Iterator[str]:
    config = load_task(decision.members[0].spec)
    if decision.postprocess and all(decision.postprocess.code != hook_hash(config, reader) for reader in _READERS):
        yield f"the code of postprocess of {config.experiment} changed"


def _tables(decision: Decision) -> Iterator[str]:
    for name, digest in decision.tables.items():
        yield from _compare(decision.folder / f"{name}.parquet", digest)


def _files(config: Task, fit: FitRef, tta: str, session: Session) -> Iterator[str]:
    folder = fit_folder(config.spec, fit.seed, fit.fold)
    predictions = predictions_folder(config, folder, tta)
    if predictions != folder and not predictions.is_dir():
        name = "overlap" if config.overlap != read_config(folder).settings.overlap else "predict_precision"
        yield f"{config.spec} has {name} = {getattr(config, name)} today and another then"
        return
    hashes = read_hashes(config, folder, tta, session.run)
    yield from _compare(folder / "weights.safetensors", fit.weights_sha256, session.sha256)
    yield from _compare(predictions / "oof.parquet", fit.oof_sha256, session.sha256)
    if files.sha256_json(hashes.maps) != fit.maps_sha256:
        yield f"the record in {predictions} lists other maps"


def _compare(path: Path, digest: str, sha256: Callable[[Path], str] = files.sha256_file) -> Iterator[str]:
    if not path.is_file():
        yield f"{path} is missing"
    elif sha256(path) != digest:
        yield f"{path} changed"


def _tried(changes: list[Refusal], function: Callable[..., Any], *arguments: Any) -> Any:
    """Result of a check that may refuse; a refusal is one more change."""
    try:
        return function(*arguments)
    except UserError as error:
        changes.append(error)
        return None
