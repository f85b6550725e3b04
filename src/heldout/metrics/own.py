"""Scores made of the user's own functions, checked when they are first used.

A function must give the same for the same cases in any order, and weights must do what repeating cases does: every
interval and every tuned threshold rests on that.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import numpy as np

from heldout.config.metric import OwnMetric, find_own, metric_code
from heldout.errors import UserError
from heldout.metrics.masks import OF_LABELS
from heldout.metrics.metric import Metric
from heldout.metrics.tables import Columns

if TYPE_CHECKING:
    import pandas as pd

_CHECKED: WeakSet[Callable[..., Any]] = WeakSet()
_SAME = 1e-6  # relative: sums of floats in another order


def own_metric(name: str) -> Metric | None:
    """The metric that a file of ``exps/`` defines; None where none does.

    Args:
        name: ``pf1`` of ``exps/metrics.py``, or ``exp100:pf1`` of an experiment's file.

    Raises:
        UserError: the file cannot be imported.
    """
    given = find_own(name)
    if given is None:
        return None
    code = "".join(metric_code(name))
    if isinstance(given, Metric):  # made by a function of heldout.metrics.presets
        return replace(given, name=name, code=code)
    return Metric(
        name,
        "regression" if given.uses == "value" else "classification" if given.uses in OF_LABELS else "segmentation",
        given.higher_is_better,
        given.description,
        given.uses,
        whole=_whole(name, given),
        interval_scale=given.scale,
        code=code,
    )


def _whole(name: str, own: OwnMetric) -> Callable[[Columns, np.ndarray], np.ndarray]:
    function = own.function
    vectorized = len(inspect.signature(function).parameters) > 1
    argument = next(iter(inspect.signature(function).parameters))

    def once(columns: Columns | _Repeated) -> float:
        value = function(frame_of(columns) if argument == "table" else columns)
        try:
            return float(value)
        except (TypeError, ValueError):
            raise UserError(f"metric {name} returns {type(value).__name__}: it must return one number") from None

    def every(columns: Columns, weights: np.ndarray) -> np.ndarray:
        if not vectorized:
            return np.array([once(_Repeated(columns, counts)) for counts in weights])
        values = np.asarray(function(columns, weights), float)
        if values.shape != (len(weights),):
            raise UserError(
                f"metric {name} returns the shape {values.shape} for {len(weights)} draws: it must return one number "
                "per row of weights"
            )
        return values

    def checked(columns: Columns, weights: np.ndarray) -> np.ndarray:
        if function not in _CHECKED:
            _check(name, every, columns)
            _CHECKED.add(function)
        return every(columns, weights)

    return checked


class _Repeated:
    """Columns in which every case stands as often as it counts; only what a function reads is repeated."""

    def __init__(self, columns: Columns, counts: np.ndarray) -> None:
        self._columns = columns
        self._rows = np.repeat(np.arange(len(counts)), counts.astype(int))

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._columns, name)
        return value.take(self._rows, axis=0) if isinstance(value, np.ndarray) else value


def _check(name: str, every: Callable[[Columns, np.ndarray], np.ndarray], columns: Columns) -> None:
    """Refuse a function whose score depends on the order of cases, or whose weights do not repeat them.

    It may not change its cases, which other scores are made of, and must give a number where every class has positive
    and negative cases.

    Raises:
        UserError: saying what changed, or what the function failed with.
    """
    before_it = {name: value.copy() for name, value in vars(columns).items() if isinstance(value, np.ndarray)}
    count = len(columns.truth)
    random = np.random.default_rng(0)
    order = random.permutation(count)
    drawn = random.multinomial(count, np.full(count, 1 / count))
    once = np.ones((1, count))
    try:
        value, weighted = every(columns, np.stack([once[0], drawn.astype(float)]))
        moved = every(columns.take(order), once)[0]
        repeated = columns.take(np.repeat(np.arange(count), drawn))
        drawn_again = every(repeated, once)[0]
        twice = every(columns, 2 * once)[0]
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"metric {name} fails with {type(error).__name__}: {error}; correct it") from error
    for field, kept in before_it.items():
        if not np.array_equal(kept, getattr(columns, field), equal_nan=kept.dtype.kind == "f"):
            raise UserError(f"metric {name} changes {field} of its cases: let it work on a copy")
    both = bool(((columns.truth > 0).any(0) & (columns.truth == 0).any(0)).all())
    if np.isnan(value) and both:
        raise UserError(
            f"metric {name} is NaN on {count} cases, though every class has positive and negative ones: return a number"
        )
    remedies = [
        (value, moved, "if the cases come in another order", "let it depend on the cases alone"),
        (weighted, drawn_again, "if cases are repeated instead of weighted", "multiply every case by its weight"),
        (value, twice, "if every case counts twice", "return a mean, not a sum"),
    ]
    for before, after, when, remedy in remedies:
        if not np.isclose(before, after, rtol=_SAME, atol=_SAME, equal_nan=True):
            raise UserError(f"metric {name} changes from {before:.6g} to {after:.6g} {when}: {remedy}")
    if np.isinf(value):
        raise UserError(f"metric {name} is infinite on these cases: clip what it divides by or takes the logarithm of")


def frame_of(columns: Columns | _Repeated) -> pd.DataFrame:
    """The table that columns were read from: ``case``, ``patient_id``, ``fold`` and the columns of every class."""
    import pandas as pd

    found: dict[str, np.ndarray] = {"case": np.arange(len(columns.truth))}
    if columns.patients is not None:
        found["patient_id"] = columns.patients
    if columns.folds is not None:
        found["fold"] = columns.folds
    truth = columns.truth.astype(float) if columns.known is None else np.where(columns.known, columns.truth, np.nan)
    kinds = {"y": truth, "p": columns.probability, "d": columns.predicted.astype(float)}
    if columns.counts is not None:
        kinds |= {kind: columns.counts[..., index] for index, kind in enumerate(("tp", "fp", "fn"))}
    if columns.target is not None and columns.value is not None:
        kinds = {"y": columns.target, "p": columns.value}
    for kind, values in kinds.items():
        found |= {f"{kind}_{label}": values[:, k] for k, label in enumerate(columns.classes)}
    return pd.DataFrame(found)
