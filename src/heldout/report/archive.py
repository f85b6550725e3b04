"""Records of what runs and blends scored, small enough to commit: RESULTS.md keeps a line whose run folder is gone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from heldout import files
from heldout.blend.decision import read_decision
from heldout.errors import UserError
from heldout.evaluate.ablation import AblationRow
from heldout.evaluate.lineage import depends_on
from heldout.evaluate.row import Row
from heldout.metrics import get_metric
from heldout.records import Number, Record, read_record
from heldout.train.runs import RunInfo, read_info, run_folder

SCHEMA = 1
ONE_HALF = "threshold of one half"
_REMEDY = "restore it, or delete it and run `python run.py results` where the run is"
_CORES = re.compile(r", (\d+) cores$")  # of a fit's record


class ScoreLine(Record):
    """What a run or blend, or another system, scores by one protocol.

    Attributes:
        who: Which protocol, or whose score by which.
        values: Scores by metric.
        cases: Which cases, in words.
        differs: What differs from the protocol's own way, in words.
        budget: Of the training that is scored, where it is another than that of the run or blend.
    """

    who: str
    values: dict[str, Number]
    cases: str
    differs: str
    budget: str = "as above"

    optional: ClassVar[frozenset[str]] = frozenset({"budget"})


class ResultRecord(Record):
    """``exps/results/NAME.json``: what a run or blend scored, and under which conditions.

    Attributes:
        name, kind, title, dataset, metric, budget, scaled, score, low, high, at_half, also, also_bounds, seed_scores,
            seed_spread, cases, patients, checkpoint, test_score, test_low, test_high, test_evals, test_evals_by_name,
            dataset_test_evals, note: As in :class:`~heldout.evaluate.row.Row`.
        folds: Folds that the score covers.
        split: Folds, and what is kept together in one, in words.
        pretraining: Weights and runs that the training began with.
        thresholds: How masks and predicted labels are made.
        entries: Its rows of the ablation table: itself, and variants that need no training.
        caveats: What the source says of the data that a reader of the scores must know.
        hours: Wall time of all trainings.
        machines: What they ran on.
        by_theirs: What it scores by the protocols of other systems.
        hashes: SHA-256 of the cases, of the fold table, of a decision, and of the weights of each fit.
        remark: What else a reader must know, of a record that was not written by ``results``.
    """

    schema_version: int = Field(default=SCHEMA, alias="schema")
    name: str
    kind: str
    title: str
    dataset: str
    metric: str
    budget: str | None
    scaled: tuple[str, ...]
    score: Number | None
    low: Number | None
    high: Number | None
    at_half: Number | None
    also: dict[str, Number]
    also_bounds: dict[str, list[Number | None]] = Field(default={})
    seed_scores: dict[int, Number | None]
    seed_spread: Number | None
    cases: int | None
    patients: int | None
    checkpoint: str
    folds: tuple[int, ...]
    test_score: Number | None
    test_low: Number | None
    test_high: Number | None
    test_evals: int
    test_evals_by_name: int
    dataset_test_evals: int
    note: str
    split: str
    pretraining: str
    thresholds: str
    entries: tuple[AblationRow, ...]
    caveats: tuple[str, ...]
    hours: Number
    machines: tuple[str, ...]
    hashes: dict[str, str]
    by_theirs: tuple[ScoreLine, ...] = ()
    remark: str = ""
    optional: ClassVar[frozenset[str]] = frozenset({"also_bounds", "by_theirs", "remark"})

    @property
    def core_hours(self) -> float | None:
        """Hours of a processor's core that its trainings took; None where that is not known, or they ran on a GPU."""
        cores = {int(found[1]) for machine in self.machines if (found := _CORES.search(machine))}
        return self.hours * cores.pop() if len(cores) == 1 and self.hours else None


_OF_ROW = (
    *("name", "kind", "title", "dataset", "metric", "budget", "score", "low", "high", "at_half", "also"),
    "also_bounds",
    *("seed_scores", "seed_spread", "cases", "patients", "checkpoint", "folds", "test_score", "test_low", "test_high"),
    *("test_evals", "test_evals_by_name", "dataset_test_evals", "note"),
)


def result_of(
    row: Row,
    entries: Iterable[AblationRow] = (),
    caveats: Iterable[str] = (),
    by_theirs: Iterable[ScoreLine] | None = None,
) -> ResultRecord:
    """The record of a run or blend that is here.

    Args:
        row: Its row of the leaderboard.
        entries: Its rows of the ablation table.
        caveats: Of its dataset.
        by_theirs: What it scores by the protocols of other systems; None where that was not scored now.
    """
    infos = _infos(row)
    fits = row.fits or [fit.record for info in infos for fit in info.fits]
    weights = {f"{fit.spec} seed {fit.seed} fold {fit.fold}": fit.sha256.weights for fit in fits}
    hashes = {"cases": row.data_hash, "folds": row.fold_hash, "decision": row.identity, **weights}
    record = ResultRecord(
        **{name: getattr(row, name) for name in _OF_ROW},
        scaled=tuple(row.scaled),
        split=_split(row, infos),
        pretraining=_pretraining(infos),
        thresholds=_thresholds(row, infos),
        entries=tuple(entries),
        caveats=tuple(caveats),
        hours=round(row.seconds / 3600, 4),
        machines=tuple(dict.fromkeys(fit.machine for fit in fits)),
        hashes={name: value for name, value in hashes.items() if value},
    )
    return record if by_theirs is None else record.model_copy(update={"by_theirs": tuple(by_theirs)})


def stored_results() -> list[ResultRecord]:
    """What earlier calls recorded, by name.

    Raises:
        UserError: a record is damaged.
    """
    return [read_record(path, ResultRecord, SCHEMA, _REMEDY) for path in sorted(results_folder().glob("*.json"))]


def merged(stored: Iterable[ResultRecord], here: Iterable[ResultRecord]) -> list[ResultRecord]:
    """All records, a stored one only where its run is not here; what is new and has a score is written.

    Scores by the protocols of other systems that were not scored now are those that were stored of the same fits.
    """
    records = {record.name: record for record in stored}
    for record in here:
        known = records.get(record.name)
        if known is not None and known.hashes == record.hashes and "by_theirs" not in record.model_fields_set:
            record = record.model_copy(update={"by_theirs": known.by_theirs})
        if record.score is not None and record != records.get(record.name):
            files.write_json(results_folder() / f"{record.name}.json", record.to_json())
        records[record.name] = record
    return [records[name] for name in sorted(records)]


def results_folder() -> Path:
    """Where the records are."""
    return files.home() / "exps" / "results"


def _infos(row: Row) -> list[RunInfo]:
    """What is stored of a run as it was trained, or of the members of a blend; nothing of what is damaged."""
    specs = [row.name]
    with suppress(UserError):
        if row.kind == "blend":
            specs = [member.spec for member in read_decision(row.name).members]
        return [info for spec in specs if (info := read_info(run_folder(spec))) is not None]
    return []


def _split(row: Row, infos: Sequence[RunInfo]) -> str:
    near = bool(infos) and all(info.config.settings.near_duplicates for info in infos)
    kept = f"{'' if row.cases == row.patients else 'patients and '}{'near' if near else 'exact'} duplicates in one fold"
    return f"out-of-fold, folds {', '.join(map(str, row.folds))}; {kept}"


def _pretraining(infos: Sequence[RunInfo]) -> str:
    starts = [found for info in infos if (found := depends_on(info.config.settings))]
    return ", ".join(dict.fromkeys(starts)) or ("none" if infos else "not known")


def _thresholds(row: Row, infos: Sequence[RunInfo]) -> str:
    """How its masks and predicted labels are made."""
    if any(info.config.exclusive and len(info.config.classes) > 1 for info in infos):
        return "the most probable class each"
    if row.threshold == "cross-fitted" or (row.kind == "blend" and get_metric(row.metric).thresholded):
        return "cross-fitted thresholds"
    return ONE_HALF
