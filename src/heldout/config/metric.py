"""A competition's own metric: a function of the cases, marked in ``exps/metrics.py`` or in an experiment's file.

Marking imports nothing heavy; :mod:`heldout.metrics.own` makes a score of the function where one is computed.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

from heldout.config.code import READER, code_below
from heldout.config.loading import has_file, import_file
from heldout.errors import UserError
from heldout.files import sha256_json

Uses = Literal[
    "probability", "predicted_label", "value", "counts", "lesions", "surfaces", "volume", "detections",
    "kept_detections",
]  # fmt: skip
IntervalScale = Literal["logit", "log", "plain", "real"]
_FORMS = (["cases"], ["table"], ["cases", "weights"])
MODULE = "metrics"  # of exps/, for metrics that several experiments share


@dataclass(frozen=True)
class OwnMetric:
    """A marked function.

    Attributes:
        function: Of ``cases`` (:class:`heldout.metrics.tables.Columns`) or of ``table`` (a data frame) to a number; or
            of ``cases`` and (draws, n) ``weights`` to (draws,) numbers.
        higher_is_better: Whether a larger value is a better one.
        uses: What it looks at, as in :class:`heldout.metrics.metric.Metric`.
        scale: Where its intervals are symmetric: ``logit`` for shares of 0 ... 1, ``log`` for positive errors,
            ``plain`` for errors that may be 0, ``real`` for any number.
    """

    function: Callable[..., Any]
    higher_is_better: bool
    uses: Uses = "probability"
    scale: IntervalScale = "real"

    @property
    def description(self) -> str:
        """First line of the function's docstring, for people."""
        return (inspect.getdoc(self.function) or "metric of this competition").splitlines()[0].rstrip(".")

    def __call__(self, *arguments: Any) -> Any:
        """Call the function."""
        return self.function(*arguments)


def metric(
    *, higher_is_better: bool, uses: Uses = "probability", scale: IntervalScale = "real"
) -> Callable[[Callable[..., Any]], OwnMetric]:
    """Mark a function as a metric, so that ``metric = "its_name"`` ranks, tunes and gives intervals by it.

    A function ``f(cases)`` or ``f(table)`` gives one number and is called for every weighting of the cases, with the
    cases repeated as often as they count. A function ``f(cases, weights)`` gives the numbers of all (draws, n) weights
    at once, and is faster.

    Args:
        higher_is_better: Whether a larger value is a better one.
        uses: ``predicted_label`` where thresholds matter, ``value`` for a regression, ``counts`` for voxels of masks,
            or what masks must be measured for: ``lesions``, ``surfaces``, ``volume``; ``detections``, or where a
            threshold matters ``kept_detections``.
        scale: Where intervals are symmetric; see :class:`OwnMetric`.

    Raises:
        UserError: the function takes other arguments, or one of these is none of its values.

    Example:
        >>> @metric(higher_is_better=True)
        ... def pf1(cases):
        ...     y, p = cases.truth[:, 0], cases.probability[:, 0]
        ...     return 2 * (y * p).sum() / (y.sum() + p.sum())
        >>> pf1.higher_is_better
        True
    """

    def mark(function: Callable[..., Any]) -> OwnMetric:
        for word, value, allowed in (
            ("higher_is_better", higher_is_better, (True, False)),
            ("uses", uses, get_args(Uses)),
            ("scale", scale, get_args(IntervalScale)),
        ):
            if not any(value is one or (isinstance(one, str) and value == one) for one in allowed):
                raise UserError(
                    f"metric {function.__name__} in {function.__module__.replace('.', '/')}.py has {word} = {value!r}: "
                    f"choose {', '.join(map(str, allowed))}"
                )
        if list(inspect.signature(function).parameters) not in _FORMS:
            raise UserError(
                f"metric {function.__name__} in {function.__module__.replace('.', '/')}.py must take (cases), (table) "
                "or (cases, weights): rename its arguments"
            )
        return OwnMetric(function, higher_is_better, uses, scale)

    return mark


def find_own(name: str) -> Any:
    """A metric of the user's own; None where no file defines that name.

    Args:
        name: ``pf1`` of ``exps/metrics.py``, or ``exp100:pf1`` of an experiment's file.

    Raises:
        UserError: the file cannot be imported.
    """
    module, attribute = _place(name)
    if not attribute.isidentifier() or not has_file(module):
        return None
    found = getattr(import_file(module), attribute, None)
    return found if hasattr(found, "higher_is_better") else None


def metric_source(name: str, reader: int = READER) -> dict[str, str]:
    """Source of a metric of the user's own and of all that it reaches, by ``module:name``; empty of a built-in one.

    Args:
        name: As for :func:`find_own`, or with ``patient:`` before it.
        reader: Version of what reads it.
    """
    for one in (name, name.partition(":")[2]):
        if (found := find_own(one)) is not None:
            return _source(*_place(one), found, reader)
    return {}


def metric_code(name: str, reader: int = READER) -> list[str]:
    """SHA-256 of :func:`metric_source`, to be part of what is computed with the metric; empty of a built-in one."""
    source = metric_source(name, reader)
    return [sha256_json(source)] if source else []


@functools.cache
def _source(module: str, name: str, found: Any, reader: int) -> dict[str, str]:  # noqa: ARG001 - what was imported has one source
    return code_below(f"exps.{module}", name, reader)


def _place(name: str) -> tuple[str, str]:
    module, _, attribute = name.rpartition(":")
    return module or MODULE, attribute


def own_names() -> list[str]:
    """Names that ``exps/metrics.py`` defines; empty where it does not exist or fails."""
    if not has_file(MODULE):
        return []
    values = vars(import_file(MODULE)).items()
    return [name for name, value in values if hasattr(value, "higher_is_better") and not name.startswith("_")]
