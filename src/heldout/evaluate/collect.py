"""All runs and blends as rows, for the leaderboard and RESULTS.md.

Only small JSON files are read where the scores are known from an earlier call, so that listing takes no heavy import.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING

from heldout import files
from heldout.config import load
from heldout.config.legacy import today_spec
from heldout.errors import UserError
from heldout.evaluate.lineage import lacking, lineage_of, missing_text, plan_of
from heldout.evaluate.public_scores import add_public_scores
from heldout.evaluate.row import Row, order
from heldout.evaluate.scores import ScoreCache, best_alone, seeds_of_every_fold, spread
from heldout.train.imported import imported_run, read_imported
from heldout.train.runs import RunInfo, read_info, run_folder, run_folders

if TYPE_CHECKING:
    from heldout.evaluate.held_out import HeldOut


def collect() -> list[Row]:
    """Every run with at least one finished fit, and every blend, best first within its group.

    A folder that cannot be read becomes a row with a note, and hides no other.

    Raises:
        UserError: the ledger, or the file of competition scores, is damaged.
    """
    rows = _read_all()
    _add_test_evaluations(rows)
    for row in rows:
        row.submission = _submission(row.name)
    add_public_scores(rows)
    return sorted(rows, key=order)


def run_row(spec: str) -> Row | None:
    """The row of one run, whatever state the others are in; None while none of its fits is finished.

    Raises:
        UserError: one of its records is damaged.
    """
    info = read_info(run_folder(spec))
    if info is None:
        return None
    cache = ScoreCache()
    row = _run(info, cache)
    cache.save()
    return row


def find_row(name: str) -> Row:
    """The row of one run or blend.

    Raises:
        UserError: there is none of that name, or it is damaged.
    """
    runs = [today_spec(folder.name) for folder in run_folders() if any(folder.glob("seed*/fold*/run.json"))]
    blends = [path.parent.name for path in _decisions()]
    row = None
    if name in blends:
        row = next(row for row in _read_all() if row.kind == "blend" and row.name == name)
    elif (spec := today_spec(name)) in runs or (spec := imported_run(name) or "") in runs:
        row = run_row(spec)
    if row is None:
        raise UserError(
            f"{name!r} is neither a run with a finished fold nor a blend: {_instead(name, [*runs, *blends])}"
        )
    if not row.dataset:
        raise UserError(row.note)
    row.submission = _submission(row.name)
    _add_test_evaluations([row])
    return row


def open_row(name: str) -> HeldOut:
    """Open a run or a blend for a report, with its row and all its held-out predictions.

    Raises:
        UserError: there is none of that name, it has no finished fold, or its files changed.
    """
    from heldout.evaluate.held_out import open_held_out

    row = find_row(name)
    return open_held_out(name, row)


def _instead(name: str, known: list[str]) -> str:
    """What to do about a name that is none of those known."""
    try:
        spec = load(name).spec
    except UserError:
        close = difflib.get_close_matches(name, known, n=1)
    else:
        if spec not in known:
            return f"run `python run.py train {spec}` first"
        close = [spec]
    return f"did you mean {close[0]}?" if close else f"there are {', '.join(known) or 'none yet'}"


def _read_all() -> list[Row]:
    cache = ScoreCache()
    found = (_foreign_run(folder, cache) for folder in run_folders())
    runs = {row.name: row for row in found if row is not None}
    blends = [_blend(path.parent.name, runs, cache) for path in _decisions()]
    cache.save()
    return [*runs.values(), *blends]


def _decisions() -> list[Path]:
    return sorted((files.home() / "working" / "blends").glob("*/decision.json"))


_SAME = 1e-9  # scores of equal predictions differ by less


def _foreign_run(folder: Path, cache: ScoreCache) -> Row | None:
    """The row of a run folder whose files were not checked yet."""
    try:
        info = read_info(folder)
        return None if info is None else _run(info, cache)
    except UserError as error:
        note = str(error)
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno in files.FULL:
            raise
        why = f"{type(error).__name__}: {error}"
        note = f"{folder} is not a run folder as heldout writes it ({why}): restore or delete it"
    return Row(name=folder.name, kind="run", title="Damaged run", note=note)


def _run(info: RunInfo, cache: ScoreCache) -> Row:
    records, settings, plan = [fit.record for fit in info.fits], info.config.settings, plan_of(info)
    missing = plan.missing({(record.seed, record.fold) for record in records})
    row = Row(
        name=info.spec,
        kind="run",
        title=info.config.title,
        dataset=settings.dataset or settings.source,
        metric=records[0].metric,
        budget=records[0].budget,
        scaled=[
            f"{key} = {value}"
            for key, value in settings.budgets.get(records[0].budget or "", {}).items()
            if key not in ("folds", "seeds")  # these are told by what was trained
        ],
        data_hash=records[0].data_hash,
        fold_hash=records[0].fold_hash,
        done=len(records),
        planned=len(plan.folds) * len(plan.seeds),
        missing=missing,
        complete=not missing,
        checkpoint=settings.checkpoint,
        seconds=sum(record.train_seconds for record in records),
        parameters=records[0].parameters,
        fits=records,
        plan=plan,
    )
    row.parent, row.changed = lineage_of(info)
    lacks = missing_text(plan, missing)
    elsewhere = read_imported(settings.imported).note if settings.imported is not None else ""
    leaky = f"folds leak, accepted: {settings.accept_leaks}" if settings.accept_leaks else ""
    row.note = "; ".join(filter(None, [elsewhere, leaky, f"missing: {lacks}" if lacks else ""]))
    try:
        found = cache.of_run(row.name, row.metric, records)
    except UserError as error:
        row.note = str(error)
        return row
    found.apply(row)
    seeds = {record.seed for record in records}
    row.fold_spread = spread(row.fold_scores) if len(seeds_of_every_fold(records)) == len(seeds) else None
    row.seed_spread = spread(row.seed_scores)
    _explain_pooled(row)
    return row


def _blend(name: str, runs: dict[str, Row], cache: ScoreCache) -> Row:
    from heldout.blend.decision import read_decision

    try:
        decision = read_decision(name)
    except UserError as error:
        return Row(name=name, kind="blend", title="Damaged blend", note=str(error))
    specs = [today_spec(member.spec) for member in decision.members]
    known = [runs[spec] for spec in specs if spec in runs and runs[spec].plan is not None]
    fits = {(today_spec(member.spec), fit.seed, fit.fold) for member in decision.members for fit in member.folders}
    seconds = {(row.name, fit.seed, fit.fold): fit.train_seconds for row in known for fit in row.fits}
    score = decision.score
    row = Row(
        name=name,
        kind="blend",
        title=f"Blend of {decision.composition}",
        dataset=decision.dataset,
        metric=decision.metric,
        budget=next((member.budget for member in known if member.budget), None),
        data_hash=decision.data_hash,
        fold_hash=decision.fold_hash,
        score=score.cross_fitted,
        low=score.low,
        high=score.high,
        in_sample=score.in_sample,
        optimism=score.optimism,
        baselines=decision.search.baselines,
        done=len(fits),
        planned=len(fits),
        checkpoint="best" if any(member.checkpoint == "best" for member in known) else "last",
        sealed=decision.seal is not None,
        identity=decision.identity,
        seconds=sum(seconds.get(fit, 0.0) for fit in fits),
    )
    row.missing, sentences = lacking(decision, lambda spec: runs[spec].plan if spec in runs else None)
    row.complete = not sentences
    row.note = "; ".join(f"blended {one}" if one.startswith("without") else one for one in sentences)
    if elsewhere := [note for note in decision.notes if "made elsewhere" in note]:
        row.note = "; ".join(filter(None, [*elsewhere, row.note]))
    try:
        found = cache.of_blend(decision)
    except UserError as error:
        row.note, row.complete = str(error), False
        return row
    found.apply(row, without=("score", "low", "high", "identity"))  # the decision has the score and the identity
    if found.score is not None:  # the interval in decision.json may be of an earlier method
        row.low, row.high = found.low, found.high
    if found.score is not None and row.score is not None and abs(found.score - row.score) > _SAME:
        row.complete = False
        row.note = (
            f"not verified: decision.json says {row.score:.4f}, its cross-fitted predictions score {found.score:.4f}"
        )
    if best := best_alone(decision, row.higher_is_better):
        row.title += f"; {best[0]} alone reaches {best[1]:.4f}"
    row.fold_spread = spread(row.fold_scores)
    _explain_pooled(row)
    return row


def _explain_pooled(row: Row) -> None:
    """Say why a score lies beyond those of its folds, where it does."""
    folds = [value for value in row.fold_scores.values() if value is not None]
    if row.score is None or len(folds) < 2 or min(folds) - 1e-9 <= row.score <= max(folds) + 1e-9:
        return
    why = (
        f"the score of all cases together, {row.score:.4f}, lies outside those of the folds ({min(folds):.3f} to "
        f"{max(folds):.3f}): outputs of different folds' networks are not on one scale; compare the folds, or blend "
        "again with `--calibrate auto`"
    )
    row.note = "; ".join(filter(None, [row.note, why]))


def _submission(name: str) -> str | None:
    """The file that ``submit`` wrote under a name, as a path below the home; the newer of two kinds."""
    paths = [path for end in ("csv", "zip") if (path := files.home() / "submissions" / f"{name}.{end}").is_file()]
    return f"submissions/{max(paths, key=lambda path: path.stat().st_mtime).name}" if paths else None


def _add_test_evaluations(rows: list[Row]) -> None:
    """Count the test evaluations, and show the last score of every decision as it is now."""
    working = files.home() / "working"
    if not (working / "ledger.jsonl").exists() and not (working / ".ledger").exists():
        return
    from heldout.blend.chain import evaluations_on
    from heldout.blend.ledger import read_ledger

    entries = read_ledger()
    for row in rows:
        row.dataset_test_evals = len(evaluations_on([entry.evaluation for entry in entries], row.dataset))
        named = [
            entry
            for entry in entries
            if today_spec(entry.evaluation.name) == row.name and entry.evaluation.dataset == row.dataset
        ]
        row.test_evals_by_name = len(named)
        mine = [entry for entry in named if entry.evaluation.decision == row.identity]
        row.test_evals = len(mine)
        if scored := [entry.result for entry in mine if entry.result and entry.result.score is not None]:
            row.test_score, row.test_low, row.test_high = scored[-1].score, scored[-1].low, scored[-1].high
