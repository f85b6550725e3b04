"""Scores of held-out predictions, and of sealed decisions on data from elsewhere, as a whole and by subgroup."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from heldout.cli.shared import AsForm, AsJson, By, Form, Name, Repeat, SkipBad, command, finish, print_in, print_table

if TYPE_CHECKING:
    from heldout.evaluate.subgroups import Subgroup

_COLUMNS = ("by", "value", "cases", "patients", "score", "95 % interval")


@command("python run.py evaluate frac1 --by site,sex,age:3", name="evaluate")
def score_by(
    name: Name,
    on: Annotated[
        str | None,
        typer.Option(
            metavar="DATASET", help="labeled data from elsewhere: a folder in the same layout, or an experiment of it"
        ),
    ] = None,
    by: By = None,
    metric: Annotated[str | None, typer.Option(help="score; the decision's own by default")] = None,
    repeat: Repeat = None,
    skip_bad: SkipBad = False,
    as_json: AsJson = False,
    form: AsForm = None,
) -> None:
    """Score held-out predictions, or a sealed decision on labeled data from elsewhere, as a whole and by subgroup.

    On other data the evaluation is written into the ledger before its score is known.
    """
    from heldout.evaluate.subgroups import parse_by, score_subgroups

    columns = parse_by(by)
    if on is None:
        from heldout.evaluate.held_out import open_held_out

        held = open_held_out(name)
        table, source, classes, metric = held.ranking_table, held.dataset.source, held.classes, metric or held.metric
        what = f"{metric} of {name}, out-of-fold"
    else:
        from heldout.blend.elsewhere import evaluate_on, open_elsewhere
        from heldout.blend.verify import open_decision

        opened = open_decision(name)
        data = open_elsewhere(opened, on, skip_bad=skip_bad)
        result, table = evaluate_on(opened, data, repeat)
        source, classes, metric = data.source, opened.decision.classes, metric or result.metric
        what = f"{metric} of {name} on {data.name}, evaluation {result.decision_evals} of this decision there"
    found = score_subgroups(metric, table, classes, source, columns)
    if as_json or form:
        print_in(form or Form.json, _COLUMNS, _rows(found), [vars(one) for one in found])
        return
    print_subgroups(what, found)
    if on is not None:
        finish(result.path, "leaderboard")


def print_subgroups(what: str, found: Sequence[Subgroup]) -> None:
    """Print scores of subgroups, with a title."""
    print_table(what, _COLUMNS, _rows(found), words=("by", "value"))


def _rows(found: Sequence[Subgroup]) -> list[tuple[str | int, ...]]:
    return [
        (one.by, one.value, one.cases, one.patients, _number(one.score), f"[{_number(one.low)}, {_number(one.high)}]")
        for one in found
    ]


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"
