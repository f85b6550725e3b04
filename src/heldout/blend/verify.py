"""Is what would be used what was validated? Every part of a decision, hashed again and compared."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heldout import files
from heldout.blend.datasets import Datasets
from heldout.blend.decision import Decision, load_decision
from heldout.blend.flips import predictions_folder, read_hashes
from heldout.blend.networks import Networks
from heldout.blend.records import FitRef
from heldout.blend.reference import check_reference
from heldout.data.dataset import Dataset
from heldout.errors import UserError
from heldout.tasks import Task
from heldout.tasks.loading import load_task
from heldout.train.runs import check_identity, fit_folder


@dataclass(frozen=True, eq=False)
class OpenDecision:
    """A decision that was verified, with what was opened on the way.

    Attributes:
        decision: The decision.
        dataset: The checked dataset that it stands on.
        networks: Those of its networks that were loaded to verify it.
    """

    decision: Decision
    dataset: Dataset
    networks: Networks


def verify(decision: Decision, *, maps: bool = False, datasets: Datasets | None = None) -> OpenDecision:
    """Refuse a decision that is not what was validated.

    A blend must be sealed; an experiment's plain mean has no seal, but its files must be those that training left.

    Args:
        decision: The decision.
        maps: Also read every out-of-fold map, which takes as long as reading so many files does.
        datasets: Those that the command has opened already.

    Returns:
        The decision with the dataset that it stands on, opened.

    Raises:
        UserError: it is not frozen, was edited, or any of its parts changed; lists all changes.
    """
    if decision.is_blend and decision.seal is None:
        raise UserError(f"blend {decision.name} is not frozen: run `python run.py freeze {decision.name}` first")
    datasets, networks, changes = datasets or Datasets(), Networks(), []
    if decision.seal is not None and decision.compute_seal() != decision.seal:
        changes.append(f"the decision {decision.name} itself was edited")
    changes += check_parts(decision, datasets)
    if maps and not changes:
        changes += check_maps(decision)
    if not changes:
        changes += check_reference(decision, datasets, networks)
    refuse_changes(decision, changes)
    return OpenDecision(decision, datasets.open(load_task(decision.members[0].spec)), networks)


def open_decision(name: str) -> OpenDecision:
    """Read and verify a decision, and open its dataset, once for the whole command.

    Args:
        name: Name of a blend or spec of an experiment.

    Raises:
        UserError: as :func:`heldout.blend.decision.load_decision` and :func:`verify`.
    """
    datasets = Datasets()
    return verify(load_decision(name, datasets), datasets=datasets)


def refuse_changes(decision: Decision, changes: list[str]) -> None:
    """Raise one error that lists all changes, if any.

    Raises:
        UserError: something changed.
    """
    if changes:
        raise UserError(
            f"{decision.name} is not what was validated: {'; '.join(changes)}. Restore these, or blend again under a "
            "new name"
        )


def check_parts(decision: Decision, datasets: Datasets | None = None) -> list[str]:
    """What changed among settings, fold table, data, weights, out-of-fold predictions and the blend's own tables."""
    datasets, changes = datasets or Datasets(), list(_tables(decision))
    for member in decision.stages:
        config = _tried(changes, load_task, member.spec)
        if config is None:
            continue
        before = len(changes)
        _tried(changes, check_identity, config)
        if len(changes) > before:
            continue
        if (dataset := _tried(changes, datasets.open, config)) is not None:
            for name, what in (("fold_hash", "fold table"), ("data_hash", "cases")):
                if getattr(dataset, name) != getattr(decision, name):
                    changes.append(f"the {what} in {dataset.folder} changed")
        for fit in member.folders:
            changes += _tried(changes, lambda c=config, f=fit, tta=member.tta: list(_files(c, f, tta))) or []
    return list(dict.fromkeys(changes))


def check_maps(decision: Decision) -> list[str]:
    """Which out-of-fold maps changed; reads them all."""
    changes: list[str] = []
    for member in decision.stages:
        config = load_task(member.spec)
        for fit in member.folders:
            folder = fit_folder(member.spec, fit.seed, fit.fold)
            maps = predictions_folder(config, folder, member.tta) / "oof_maps"
            for case_id, digest in read_hashes(config, folder, member.tta).maps.items():
                changes += _compare(maps / f"{case_id}.b2nd", digest)
    return changes


def _tables(decision: Decision) -> Iterator[str]:
    for name, digest in decision.tables.items():
        yield from _compare(decision.folder / f"{name}.parquet", digest)


def _files(config: Task, fit: FitRef, tta: str) -> Iterator[str]:
    folder = fit_folder(config.spec, fit.seed, fit.fold)
    predictions, hashes = predictions_folder(config, folder, tta), read_hashes(config, folder, tta)
    yield from _compare(folder / "weights.safetensors", fit.weights_sha256)
    yield from _compare(predictions / "oof.parquet", fit.oof_sha256)
    if files.sha256_json(hashes.maps) != fit.maps_sha256:
        yield f"the record in {predictions} lists other maps"


def _compare(path: Path, digest: str) -> Iterator[str]:
    if not path.is_file():
        yield f"{path} is missing"
    elif files.sha256_file(path) != digest:
        yield f"{path} changed"


def _tried(changes: list[str], function: Callable[..., Any], *arguments: Any) -> Any:
    """Result of a check that may refuse; a refusal is one more change."""
    try:
        return function(*arguments)
    except UserError as error:
        changes.append(str(error))
        return None
