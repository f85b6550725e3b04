"""Everything that was run, as rows: the one source of the leaderboard and of RESULTS.md.

Only small JSON files are read where the scores are known from an earlier call, so that listing takes no heavy import.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from heldout import files
from heldout.config import difference, load
from heldout.deliver.scores import ScoreCache
from heldout.errors import UserError
from heldout.train.runs import RunInfo, find_runs


@dataclass
class Row:
    """One experiment's run, or one blend.

    Attributes:
        name: Spec of the run, or name of the blend.
        kind: ``run`` or ``blend``.
        title: What the experiment says of itself, or the blend's members.
        parent: Experiment it differs from, or None.
        changed: The fields and hooks in which it differs from its parent.
        budget: Name of the budget, or None for the experiment as it stands.
        scaled: What the budget changes.
        dataset: Name of the dataset.
        data_hash: Hash of the cases and parts; scores of different hashes do not compare.
        fold_hash: Hash of the fold table.
        metric: Name of the score.
        higher_is_better: Direction of the score.
        score: Out-of-fold score, cross-fitted where anything was tuned on it; None while it cannot be computed.
        low, high: 95 % interval over patients.
        by_class: Score of each class, where there are several.
        also: Values of other metrics.
        in_sample: Score of a blend on the very predictions it was tuned on.
        cases, patients: How many the score stands on.
        done, planned: Fits (folds x seeds) finished and asked for.
        complete: Whether every fold of the dataset was held out once, so that the score covers all cases.
        checkpoint: ``last``, or ``best`` where the fold's own score chose it.
        sealed: Whether a blend is frozen.
        seconds: Training time of all its fits.
        parameters: Of one network.
        test_score: Score on the locked test part, None before the first look.
        looks: Looks at the test part on record.
        identity: By which the ledger knows it; changes with any of its parts.
        note: Why something is missing.
        fits: The run records it stands on.
    """

    name: str
    kind: str
    title: str
    dataset: str = ""
    metric: str = ""
    parent: str | None = None
    changed: list[str] = field(default_factory=list)
    budget: str | None = None
    scaled: list[str] = field(default_factory=list)
    data_hash: str = ""
    fold_hash: str = ""
    higher_is_better: bool = True
    score: float | None = None
    low: float | None = None
    high: float | None = None
    by_class: dict[str, float] = field(default_factory=dict)
    also: dict[str, float] = field(default_factory=dict)
    in_sample: float | None = None
    cases: int | None = None
    patients: int | None = None
    done: int = 0
    planned: int = 0
    complete: bool = False
    checkpoint: str = "last"
    sealed: bool | None = None
    seconds: float = 0.0
    parameters: int | None = None
    test_score: float | None = None
    looks: int = 0
    identity: str = ""
    note: str = ""
    fits: list[dict[str, Any]] = field(default_factory=list, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionary, for JSON."""
        values = asdict(self)
        del values["fits"]
        return values


def collect() -> list[Row]:
    """Every run with at least one finished fit, and every blend, best first within its group."""
    working = files.home() / "working"
    cache = ScoreCache(working / "cache" / "scores.json")
    runs = [_run(info, cache) for info in find_runs()]
    by_name = {row.name: row for row in runs}
    blends = [_blend(path, by_name, cache) for path in sorted((working / "blends").glob("*/decision.json"))]
    cache.save()
    rows = runs + blends
    if (working / "ledger.jsonl").exists() or (working / ".ledger").exists():
        _add_looks(rows)
    return sorted(rows, key=_order)


def groups(rows: list[Row]) -> dict[tuple[str, str, str], list[Row]]:
    """Rows whose scores compare: same dataset, same cases and same metric."""
    found: dict[tuple[str, str, str], list[Row]] = defaultdict(list)
    for row in rows:
        found[row.dataset, row.metric, row.data_hash].append(row)
    return dict(found)


def ranked(row: Row) -> bool:
    """Whether a row takes part in the ranking: full budget, and every case predicted while held out."""
    return row.budget is None and row.complete and row.score is not None


def _order(row: Row) -> tuple[Any, ...]:
    score = float("-inf") if row.score is None else row.score * (1 if row.higher_is_better else -1)
    return row.dataset, row.metric, row.data_hash, not ranked(row), -score, row.name


def run_row(spec: str) -> Row | None:
    """The row of one run; None while none of its fits is finished."""
    working = files.home() / "working"
    cache = ScoreCache(working / "cache" / "scores.json")
    found = [_run(info, cache) for info in find_runs() if info.spec == spec]
    cache.save()
    return found[0] if found else None


def changes(parent: dict[str, Any], child: dict[str, Any]) -> list[str]:
    """What differs between two identities: ``lr = 0.0003`` for a field, ``build_loss()`` for a method."""
    return [_compact(line) for line in difference(parent, child)]


def _run(info: RunInfo, cache: ScoreCache) -> Row:
    records, config = [fit.record for fit in info.fits], info.config["config"]
    folds = config["folds"] if config["folds"] is not None else range(config["fold_count"])
    row = Row(
        name=info.spec,
        kind="run",
        title=info.config["title"],
        dataset=config["dataset"],
        metric=records[0]["metric"],
        budget=records[0]["budget"],
        scaled=[f"{key} = {value}" for key, value in config["budgets"].get(records[0]["budget"], {}).items()],
        data_hash=records[0]["data_hash"],
        fold_hash=records[0]["fold_hash"],
        done=len(records),
        planned=len(folds) * len(config["seeds"]),
        complete={record["fold"] for record in records} == set(range(config["fold_count"])),
        checkpoint=config["checkpoint"],
        seconds=sum(record["train_seconds"] for record in records),
        parameters=records[0]["parameters"],
        fits=records,
    )
    row.parent, row.changed = _lineage(info)
    try:
        _fill(row, cache.of_run(row.name, row.metric, records))
    except UserError as error:
        row.note = str(error)
    return row


def _fill(row: Row, score: dict[str, Any]) -> None:
    for key in ("score", "low", "high", "higher_is_better", "cases", "patients", "identity", "by_class", "also"):
        setattr(row, key, score[key])


def _blend(path: Path, runs: dict[str, Row], cache: ScoreCache) -> Row:
    from heldout.blend.decision import read_decision

    try:
        decision = read_decision(path.parent.name).to_dict()
    except UserError as error:
        return Row(name=path.parent.name, kind="blend", title="Damaged blend", note=str(error))
    members = [runs[member["spec"]] for member in decision["members"] if member["spec"] in runs]
    weights = [f"{member['weight']:.2f} {member['spec']}" for member in decision["members"]]
    fits = [folder for member in decision["members"] for folder in member["folders"]]
    score = decision["score"]
    row = Row(
        name=decision["name"],
        kind="blend",
        title="Blend of " + " + ".join(weights),
        dataset=decision["dataset"],
        metric=decision["metric"],
        budget=next((member.budget for member in members if member.budget), None),
        data_hash=decision["data_hash"],
        fold_hash=decision["fold_hash"],
        score=score["cross_fitted"],
        low=score["low"],
        high=score["high"],
        in_sample=score["in_sample"],
        done=len(fits),
        planned=len(fits),
        complete=all(member.complete for member in members),
        checkpoint="best" if any(member.checkpoint == "best" for member in members) else "last",
        sealed=decision["seal"] is not None,
        identity=decision["seal"] or "",
        seconds=sum(member.seconds for member in members),
        higher_is_better=members[0].higher_is_better if members else True,
        cases=members[0].cases if members else None,
        patients=members[0].patients if members else None,
    )
    if len(members) < len(decision["members"]):
        row.note = "a member's run folder is gone"
    elif members[0].metric != row.metric:
        row.higher_is_better = cache.direction(row.metric)
    return row


def _lineage(info: RunInfo) -> tuple[str | None, list[str]]:
    """Name of the parent and the changed fields; a run with overrides is a child of the plain one."""
    spec, _, overrides = info.spec.partition("+")
    name, _, budget = spec.partition("@")
    parent = name if overrides else info.config["parent"]
    if parent is None:
        return None, []
    try:
        try:
            config = load(parent, budget or None)
        except UserError:
            config = load(parent)
    except UserError:  # the parent's file is gone: its changes cannot be told
        return parent, []
    return parent, changes(config.identity(), info.config["identity"])


def _compact(line: str) -> str:
    key, _, values = line.partition(": ")
    new = values.rpartition(" -> ")[2]
    return f"{key.removeprefix('hooks.')}()" if key.startswith("hooks.") else f"{key} = {new}"


def _add_looks(rows: list[Row]) -> None:
    """Note the looks at a test part under each name, and the score of the last look at what stands there now."""
    from heldout.blend.ledger import read_ledger

    for entry in read_ledger():
        for row in rows:
            if row.name == entry["name"]:
                row.looks += 1
                row.test_score = entry["score"] if entry["decision"] == row.identity else None
