"""Results of cases that belong together: pooled into one, or changed by a hook that sees them together."""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from heldout.blend.apply import Blended, as_changed, as_given, blend_case, decide
from heldout.blend.pooling import CASES, pool
from heldout.data.levels import groups_of
from heldout.data.sources import natural_key
from heldout.errors import UserError
from heldout.predict.prediction import Prediction
from heldout.tasks.base import load_task

if TYPE_CHECKING:
    import pandas as pd

    from heldout.blend.decision import Decision
    from heldout.blend.members import Member
    from heldout.data.sources import Source
    from heldout.tasks import Task

Failed = Callable[[Sequence[Blended], UserError], Sequence[Blended]]
TOGETHER = "together"  # column of a blend's tables: what the hook saw the case with


def gathered_by(decision: Decision) -> str:
    """What the cases have in common that are answered together, by pooling or by a hook."""
    return decision.pooling.level or decision.postprocess.by


def slices_by(decision: Decision) -> str:
    """What the slices that the hook ``postprocess_slices`` sees together have in common; empty without the hook."""
    return decision.postprocess.by if decision.kind == "segmentation" else ""


def groups_by_case(decision: Decision, source: Source, cases: pd.DataFrame) -> dict[str, str]:
    """The group of every case that is answered with others, see :func:`heldout.data.levels.groups_of`; else none."""
    level = gathered_by(decision)
    return dict(zip(cases["case_id"], groups_of(source, cases, level), strict=True)) if level else {}


def cases_of(table: pd.DataFrame) -> dict[str, list[str]]:
    """The cases of every row of a table: of one of groups those of the group, else the case itself."""
    if CASES not in table:
        return {case_id: [case_id] for case_id in table["case_id"]}
    return {name: json.loads(text) for name, text in zip(table["case_id"], table[CASES], strict=True)}


def put_together(
    decision: Decision, results: Iterable[Blended], groups: Mapping[str, str], failed: Failed | None = None
) -> Iterator[Blended]:
    """Results of studies or patients where the decision is about these; of cases where it is about cases.

    Pooled groups come in the order of their first cases, and cases that could not be predicted count only where a group
    has no others. A hook sees the cases that could be predicted; they come in their order, as soon as those of a group
    and all before it are there.

    Args:
        decision: The decision.
        results: Of its cases.
        groups: The group of every case, see :func:`groups_by_case`.
        failed: Gives the results of cases for which the hook fails; None raises the error.

    Raises:
        UserError: the hook fails, or returns something else than it should.
    """
    if decision.pooling:
        yield from _pooled(decision, results, groups)
    elif decision.postprocess.by:
        yield from _changed_together(decision, results, groups, failed)
    else:
        yield from results


def _pooled(decision: Decision, results: Iterable[Blended], groups: Mapping[str, str]) -> Iterator[Blended]:
    found: dict[str, list[Blended]] = {}
    for result in results:
        found.setdefault(groups.get(result.case_id, result.case_id), []).append(result)
    for name, cases in found.items():
        predicted = [one.members for one in cases if one.members]
        if predicted:
            yield blend_case(decision, pool_predictions(decision, name, predicted))
        else:
            yield replace(cases[0], case_id=name)


def _changed_together(
    decision: Decision, results: Iterable[Blended], groups: Mapping[str, str], failed: Failed | None
) -> Iterator[Blended]:
    config, missing = load_task(decision.members[0].spec), Counter(groups.values())
    waiting: dict[str, list[Blended]] = {}
    changed: dict[str, Blended] = {}
    order: deque[str] = deque()

    def change(cases: Sequence[Blended]) -> None:
        after: Sequence[Blended]
        try:
            after = _changed(decision, config, cases)
        except UserError as error:
            if failed is None:
                raise
            after = failed(cases, error)
        changed.update((one.case_id, one) for one in after)

    for result in results:
        name = groups.get(result.case_id, result.case_id)
        waiting.setdefault(name, []).append(result)
        order.append(result.case_id)
        missing[name] -= 1
        if missing[name] <= 0:
            change(waiting.pop(name))
        while order and order[0] in changed:
            yield changed.pop(order.popleft())
    for cases in waiting.values():
        change(cases)
    yield from (changed[case_id] for case_id in order)


def _changed(decision: Decision, config: Task, cases: Sequence[Blended]) -> list[Blended]:
    """Cases that belong together, after the hook; those that could not be predicted as they are."""
    predicted = [one for one in cases if one.uncalibrated is not None]
    if not predicted:
        return list(cases)
    if slices_by(decision):
        after = run_slices_hook(config, predicted, decision.postprocess.settings)
        masks = {one.case_id: one for one in after}
        return [decide(decision, masks[one.case_id]) if one.case_id in masks else one for one in cases]
    ids, scores = [one.case_id for one in predicted], np.stack([one.scores for one in predicted])
    changed = run_table_hook(config, ids, scores, decision.classes, decision.postprocess.settings)
    new = dict(zip(ids, changed, strict=True))
    return [decide(decision, replace(one, scores=new[one.case_id])) if one.case_id in new else one for one in cases]


def run_table_hook(
    config: Task, ids: Sequence[str], scores: np.ndarray, classes: Sequence[str], settings: Mapping[str, Any]
) -> np.ndarray:
    """Scores (n, K) float32 after the experiment's hook ``postprocess_table``, in the order that they came in.

    Args:
        config: The experiment.
        ids: The n cases of a patient, or of what ``postprocess_by`` names.
        scores: (n, K) float32.
        classes: Names of the K classes.
        settings: Of the hook.

    Raises:
        UserError: the hook fails, or returns something else than the same rows with finite scores.
    """
    import pandas as pd

    columns = [f"p_{name}" for name in classes]
    order = sorted(range(len(ids)), key=lambda place: natural_key(ids[place]))
    table = pd.DataFrame(scores[order].astype(float), columns=columns)
    table.insert(0, "case_id", [ids[place] for place in order])
    hook, first = f"postprocess_table of {config.experiment}", table["case_id"].iloc[0]
    try:
        changed = config.postprocess_table(table.copy(), **settings)
    except Exception as error:
        raise UserError(
            f"{hook} fails for the table of case {first} ({type(error).__name__}: {error}): correct it"
        ) from error
    if not isinstance(changed, pd.DataFrame) or not {"case_id", *columns} <= set(changed.columns):
        raise UserError(f"{hook} returns no table with case_id and {columns[0]}: return table.assign({columns[0]}=...)")
    if list(changed["case_id"]) != list(table["case_id"]):
        raise UserError(f"{hook} returns other rows for the table of case {first}: return each case once, in its order")
    values = np.asarray(changed[columns], np.float32)
    if not np.isfinite(values).all():
        raise UserError(f"{hook} gives the table of case {first} scores that are not finite numbers: correct it")
    found = np.empty_like(values)
    found[order] = values
    return found


def run_slices_hook(config: Task, results: Sequence[Blended], settings: Mapping[str, Any]) -> list[Blended]:
    """Cases with their masks after the experiment's hook ``postprocess_slices``, in the order that they came in.

    Args:
        config: The experiment.
        results: The cases of a patient, or of what ``postprocess_by`` names.
        settings: Of the hook.

    Raises:
        UserError: the hook fails, or returns something else than the same cases with masks of the same shapes.
    """
    order = sorted(range(len(results)), key=lambda place: natural_key(results[place].case_id))
    hook, ids = f"postprocess_slices of {config.experiment}", [results[place].case_id for place in order]
    try:
        changed = list(config.postprocess_slices([as_given(results[place]) for place in order], **settings))
    except Exception as error:
        shapes = {one.mask.shape[1:]: one.case_id for one in results if one.mask is not None}
        if len(shapes) > 1:
            sizes = " and ".join(f"{case_id} has {shape}" for shape, case_id in list(shapes.items())[:2])
            raise UserError(f"{hook} takes slices of one size, and {sizes}: give one volume at a time") from error
        raise UserError(
            f"{hook} fails for the slices from {ids[0]} on ({type(error).__name__}: {error}): correct it"
        ) from error
    if [getattr(one, "case_id", None) for one in changed] != ids:
        raise UserError(f"{hook} returns other cases for the slices from {ids[0]} on: return each once, in its order")
    found = list(results)
    for place, one in zip(order, changed, strict=True):
        found[place] = as_changed(hook, results[place], one)
        if not np.array_equal(found[place].scores, results[place].scores):
            raise UserError(f"{hook} changes scores of case {one.case_id}: change masks alone")
    return found


def pool_predictions(decision: Decision, name: str, cases: Sequence[Sequence[Prediction]]) -> list[Prediction]:
    """What the members say of a group, from what each says of its cases; of a decision without groups, of its case."""
    if not decision.pooling:
        [members] = cases
        return list(members)
    scores = np.stack([[one.scores for one in members] for members in cases])
    return [Prediction(name, pool(one, decision.pooling, decision.exclusive)) for one in scores.swapaxes(0, 1)]


def held_out_predictions(
    decision: Decision, members: Sequence[Member], name: str, cases: Sequence[str]
) -> list[Prediction]:
    """What the members say, out of fold, of a row of a decision's table: a case, or a group of cases."""
    return pool_predictions(decision, name, [[member.prediction(case) for member in members] for case in cases])


def held_out_results(
    decision: Decision, members: Sequence[Member], table: pd.DataFrame, names: Sequence[str]
) -> Iterator[Blended]:
    """What a decision says, out of fold, of rows of its table, in the order of the table.

    Args:
        decision: A blend, or the mean of a run.
        members: Its members.
        table: The table: of cases, or of groups of cases.
        names: Its rows that are wanted; what the hook sees with them is predicted too.
    """
    chosen = table["case_id"].isin(names)
    if decision.postprocess.by:
        chosen = table[TOGETHER].isin(table.loc[chosen, TOGETHER])
    some = table[chosen]
    results = (
        blend_case(decision, held_out_predictions(decision, members, name, cases))
        for name, cases in cases_of(some).items()
    )
    if not decision.postprocess.by:
        yield from results
        return
    groups, wanted = dict(zip(some["case_id"], some[TOGETHER], strict=True)), set(names)
    yield from (one for one in put_together(decision, results, groups) if one.case_id in wanted)
