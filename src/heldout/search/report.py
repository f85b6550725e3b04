"""What a search leaves for its reader: a table, the best values as an experiment, a chart."""

from __future__ import annotations

import io
from textwrap import shorten
from typing import TYPE_CHECKING, Any

from pydantic import Field

from heldout import files
from heldout.errors import UserError
from heldout.escape import spreadsheet
from heldout.records import Number, Record
from heldout.search.search import Search, values_of
from heldout.tasks.create import LONGEST_TITLE, experiment_source

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


class TrialCounts(Record):
    """How many trials of a search are complete, pruned, and failed."""

    complete: int
    pruned: int
    fail: int


class BestRecord(Record):
    """``best.json``: the best trial of a search.

    Attributes:
        spec: The experiment.
        fold, inner_folds, seed: How the search was made.
        metric: Name of the score.
        value: The best mean over the inner folds.
        own_value: That of the experiment's own values, the first trial; None unless it is complete.
        trial: Number of the best trial.
        values: Its values, by field.
        trials: Trials by their end.
        seconds: Time of all trials.
    """

    schema_version: int = Field(default=1, alias="schema")
    spec: str
    fold: int
    inner_folds: int
    seed: int
    metric: str
    value: Number
    own_value: Number | None
    trial: int
    values: dict[str, Any]
    trials: TrialCounts
    seconds: Number


def write_search(plan: Search, trials: list[FrozenTrial]) -> BestRecord:
    """Write ``trials.csv``, ``history.png``, ``experiment.py`` and, last, ``best.json``.

    Returns:
        The content of ``best.json``.

    Raises:
        UserError: no trial came to its end.
    """
    ended = _ended(trials, "COMPLETE")
    if not ended:
        reason = next(
            (trial.user_attrs["reason"] for trial in trials if "reason" in trial.user_attrs), "no trial ended"
        )
        raise UserError(f"no trial of {plan.config.spec} came to its end ({reason}): narrow search_space")
    sign = 1 if plan.direction == "maximize" else -1
    number, value = max(ended, key=lambda pair: sign * pair[1])
    best = trials[number]
    _write_table(plan, trials)
    _draw(plan, trials)
    text = experiment_text(plan, values_of(plan, best.params))
    files.write_text(plan.folder / "experiment.py", text)
    states = [trial.state.name.lower() for trial in trials]
    record = BestRecord(
        spec=plan.config.spec,
        fold=plan.fold,
        inner_folds=plan.inner_folds,
        seed=plan.seed,
        metric=plan.config.metric,
        value=value,
        own_value=trials[0].value if trials[0].state.name == "COMPLETE" else None,
        trial=number,
        values=values_of(plan, best.params),
        trials=TrialCounts(complete=states.count("complete"), pruned=states.count("pruned"), fail=states.count("fail")),
        seconds=round(sum(trial.user_attrs["seconds"] for trial in trials), 1),
    )
    files.write_json(plan.folder / "best.json", record.to_json())
    return record


def experiment_text(plan: Search, values: dict[str, Any]) -> str:
    """The text of an experiment file with the best values and the overrides that they were found under."""
    config, budget = plan.config, plan.config.budget
    ending = f", with values found on inner folds without fold {plan.fold}."
    title = shorten(config.title.rstrip("."), LONGEST_TITLE - len(ending), placeholder=" ...") + ending
    fields = {**config.overrides, **values}
    if budget is not None and (own := fields.keys() & config.budgets[budget]):
        fields["budgets"] = {budget: {name: fields[name] for name in sorted(own)}}  # a budget overrides the fields
    return experiment_source(f"{config.experiment}_search", f"exps.{config.experiment}", type(config), title, fields)


def _write_table(plan: Search, trials: list[FrozenTrial]) -> None:
    import pandas as pd

    rows = [
        {
            "trial": number,
            "state": trial.state.name.lower(),
            plan.config.metric: trial.value if trial.state.name == "COMPLETE" else None,
            "last_report": trial.intermediate_values[max(trial.intermediate_values)]
            if trial.intermediate_values
            else None,
            "reports": len(trial.intermediate_values),
            "seconds": trial.user_attrs["seconds"],
            **values_of(plan, trial.params),
        }
        for number, trial in enumerate(trials)
    ]
    shown = pd.DataFrame(rows).map(lambda value: spreadsheet(value) if isinstance(value, str) else value)
    files.write_text(plan.folder / "trials.csv", shown.to_csv(index=False))


def _ended(trials: list[FrozenTrial], state: str) -> list[tuple[int, float]]:
    """Number and score of the trials that ended in a state, where they have a score."""
    ended = [(number, trial.value) for number, trial in enumerate(trials) if trial.state.name == state]
    return [(number, value) for number, value in ended if value is not None]


def _draw(plan: Search, trials: list[FrozenTrial]) -> None:
    """Scores of the trials in their order, and the best so far."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    ended, given_up = _ended(trials, "COMPLETE"), _ended(trials, "PRUNED")
    better = max if plan.direction == "maximize" else min
    running = [better(value for _, value in ended[: n + 1]) for n in range(len(ended))]
    axes.step([n for n, _ in ended], running, where="post", color="#1f5fa8", lw=1.8, label="best so far")
    axes.plot(*zip(*ended, strict=True), "o", color="#1f5fa8", ms=5, label="complete")
    if given_up:
        axes.plot(*zip(*given_up, strict=True), "x", color="#7a7a7a", ms=5, label="pruned, last report")
    axes.set(xlabel="trial", ylabel=f"{plan.config.metric}, mean of {plan.inner_folds} inner folds")
    axes.set_title(f"search of {plan.config.spec} without fold {plan.fold}", fontsize=11)
    axes.grid(alpha=0.25, lw=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    files.write_bytes(plan.folder / "history.png", buffer.getvalue())
