"""Subjects of trackers from the records on the disk. Free of torch; scores with intervals need pandas."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from heldout import files
from heldout.blend.chain import LedgerEntry
from heldout.blend.decision import Decision, blend_folder, read_decision
from heldout.blend.ledger import read_ledger
from heldout.blend.records import DecisionScore
from heldout.errors import UserError
from heldout.journal import ended_at, latest_trials
from heldout.records import read_record
from heldout.tasks import load_task
from heldout.track.read_runs import known, overlay_of, read_run_subjects
from heldout.track.subject import Point, Subject

MINUTES = "minutes/"
KINDS = ("runs", "searches", "blends", "tests", "minutes")  # how sources, and the keys of subjects, begin


def run_source(spec: str, minutes: float | None) -> str:
    """A run as a source, also where a number of minutes decides its epochs, and thereby its name."""
    return f"runs/{spec}" if minutes is None else f"{MINUTES}{minutes:g}/{spec}"


def run_of(source: str) -> str | None:
    """Spec of the run that a source is; None of another one, or while the number of its epochs is not known."""
    if not source.startswith(MINUTES):
        return source.removeprefix("runs/") if source.startswith("runs/") else None
    from heldout.train.minutes import recorded, with_epochs

    minutes, spec = source.removeprefix(MINUTES).split("/", 1)
    config = load_task(spec)
    record = recorded(config, float(minutes))
    return None if record is None else with_epochs(config, record).spec


def subjects(source: str, *, final: bool = True) -> Iterator[Subject]:
    """What is on the disk now, each after the subject that it belongs to.

    Args:
        source: ``runs/<spec>``, ``searches/<spec>/fold<k>``, ``blends/<name>`` or ``tests/<name>``, or
            ``minutes/<minutes>/<spec>``, which is a run once the number of its epochs is known.
        final: Read what takes seconds too: scores with intervals, and overlays.

    Raises:
        UserError: there is nothing of that kind, or a record is damaged.
    """
    if source.startswith(MINUTES):
        runs = run_of(source)
        return iter(()) if runs is None else read_run_subjects(runs, final)
    kind, _, name = source.partition("/")
    readers: dict[str, Callable[[str, bool], Iterator[Subject]]] = {
        "runs": read_run_subjects,
        "searches": _search,
        "blends": _blend,
        "tests": _tests,
    }
    if kind not in readers or not name:
        raise UserError(f"{source!r} cannot be tracked: name {', '.join(f'{one}/NAME' for one in readers)}")
    return readers[kind](name, final)


def _search(name: str, final: bool) -> Iterator[Subject]:  # noqa: ARG001 - as every reader
    """The scores of a search as it goes on; once it is finished what it found, and each of its trials."""
    folder, source = files.home() / "working" / "searches" / name, f"searches/{name}"
    if not (folder / "best.json").exists():
        spec, _, fold = name.rpartition("/fold")
        metric = load_task(spec).metric
        if points := _trial_points(folder, metric):
            tags = {"experiment": spec, "fold": fold}
            whole = f"search {name}"
            project = _dataset(spec)
            yield Subject(source, source, "search", whole, project, whole, tags=tags, axis="trial", points=points)
        return
    from heldout.search.report import BestRecord  # with torch and Optuna

    best = read_record(folder / "best.json", BestRecord, 1, "run the search again")
    spec = best.spec
    with open(folder / "trials.csv", encoding="utf-8", newline="") as table:
        trials = list(csv.DictReader(table))
    scores = [_number(cells[best.metric]) for cells in trials]
    common: dict[str, Any] = {
        "source": source,
        "project": _dataset(spec),
        "group": f"search {name}",
        "axis": "trial",
        "finished": True,
    }
    counts = best.trials.to_json()
    yield Subject(
        key=source,
        kind="search",
        name=f"search {name}",
        config=dict(best.values),
        tags={"experiment": spec, "best_trial": str(best.trial), "seed": str(best.seed), "fold": str(best.fold)},
        points=_trial_points(folder, best.metric),
        summary=known({best.metric: best.value, f"{best.metric}_own_values": best.own_value, **counts}),
        images={"history": folder / "history.png"},
        attached=[folder / "best.json", folder / "trials.csv", folder / "experiment.py"],
        **common,
    )
    for cells, score in zip(trials, scores, strict=True):
        yield Subject(
            key=f"{source}/trial{cells['trial']}",
            kind="trial",
            name=f"search {name} trial {cells['trial']}",
            parent=source,
            config={field: cells[field] for field in best.values},
            tags={"experiment": spec, "state": cells["state"]},
            summary=known({best.metric: score, "seconds": _number(cells["seconds"])}),
            **common,
        )


def _trial_points(folder: Path, metric: str) -> list[Point]:
    return [
        Point(number, ended_at(trial), {metric: trial.value})
        for number, trial in enumerate(latest_trials(folder / "study.journal"))
        if trial.state.name == "COMPLETE" and trial.value is not None
    ]


def _dataset(spec: str) -> str:
    """Name of an experiment's dataset; empty where the experiment is gone."""
    try:
        return load_task(spec).dataset
    except UserError:
        return ""


def _blend(name: str, final: bool) -> Iterator[Subject]:
    """A decision: what was tuned, what it scored, and its seal."""
    made = blend_folder(name) / "decision.json"
    if not made.exists():
        return
    decision = read_decision(name)
    baselines = {f"{part} in_sample": one.in_sample for part, one in decision.search.baselines.items()}
    cross = {f"{part} cross_fitted": one.cross_fitted for part, one in decision.search.baselines.items()}
    weights = {f"weight {member.name}": member.weight for member in decision.members}
    cuts = {f"threshold {label}": level / 255 for label, level in decision.thresholds.items()}
    yield Subject(
        key=f"blends/{name}",
        source=f"blends/{name}",
        kind="blend",
        name=name,
        project=decision.dataset,
        group=f"blend {name}",
        config={
            **{"members": [member.name for member in decision.members], "metric": decision.metric},
            **{"sampler": decision.search.sampler, "trials": decision.search.trials, "seed": decision.search.seed},
        },
        tags=_hashes(decision),
        summary=known({**_scores(decision.metric, decision.score), **weights, **cuts, **baselines, **cross}),
        images=overlay_of(name, made.stat().st_mtime) if final else {},
        attached=[made],
        finished=final,
    )


def _scores(metric: str, score: DecisionScore) -> dict[str, Any]:
    """A decision's scores, the cross-fitted one with its interval under the metric's own name."""
    own = {metric: score.cross_fitted, f"{metric}_low": score.low, f"{metric}_high": score.high}
    return {**own, f"{metric}_in_sample": score.in_sample, "optimism": score.optimism}


def _hashes(decision: Decision) -> dict[str, str]:
    """Seal, and the hashes of everything that a decision stands on."""
    weights = {
        f"sha256.weights.{member.spec}.seed{fit.seed}.fold{fit.fold}": fit.weights_sha256
        for member in decision.members
        for fit in member.folders
    }
    return {
        **{"data_hash": decision.data_hash, "fold_hash": decision.fold_hash, "identity": decision.identity},
        **{"digest": decision.digest or "", "seal": decision.seal or "", "sealed_at": decision.sealed_at or ""},
        **weights,
    }


def _tests(name: str, final: bool) -> Iterator[Subject]:  # noqa: ARG001 - as every reader
    """Every evaluation of a decision on the locked test part."""
    for entry in read_ledger():
        if entry.evaluation.name == name:
            yield _test(name, entry)


def _test(name: str, entry: LedgerEntry) -> Subject:
    one, result = entry.evaluation, entry.result
    summary: dict[str, Any] = {"decision_evals": one.decision_evals, "dataset_evals": one.dataset_evals}
    if result is not None:
        scores = {one.metric: result.score, f"{one.metric}_low": result.low, f"{one.metric}_high": result.high}
        summary |= {**scores, "cases": result.cases}
    return Subject(
        key=f"tests/{name}/{one.number}",
        source=f"tests/{name}",
        kind="test",
        name=f"test of {name}, evaluation {one.number}",
        project=one.dataset,
        group=f"test {one.dataset}",
        config={"decision": name, "metric": one.metric, "reason": one.reason or ""},
        tags={
            **{"decision": one.decision, "sealed": str(one.sealed), "data_hash": one.data_hash, "time": one.time},
            "sha256.predictions": one.predictions_sha256,
        },
        summary=known(summary),
        finished=result is not None,
    )


def _number(text: str | None) -> float | None:
    return float(text) if text else None
