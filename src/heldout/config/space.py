"""What a search over hyper-parameters may try, as an experiment writes it down."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from heldout.config.texts import nearest

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from pydantic.fields import FieldInfo

KINDS = ("log", "uniform", "int")
MOST_CHOICES = 64  # combinations of settings of the hook postprocess
_LARGEST = sys.float_info.max  # what is above it is infinite, or an integer too large for a float
_NOT_SEARCHED = {
    *("dataset", "source", "source_options", "skip_bad", "near_duplicates", "test_fraction", "fold_count", "fold_seed"),
    *("folds", "seeds", "metric", "budgets", "search_space", "checkpoint", "early_stopping", "validate_every"),
    *("warm_start", "first_stage", "pseudo_labels"),  # made by networks that have seen patients of the inner folds
}


@dataclass(frozen=True)
class Range:
    """Values of one field: ``log`` or ``uniform`` numbers or ``int`` from ``low`` to ``high``, or ``choices``."""

    kind: str
    low: float = 0
    high: float = 0
    choices: tuple[Any, ...] = ()

    def distribution(self) -> BaseDistribution:
        """The same for Optuna. Choices are told apart by their place, as Optuna takes plain values only."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if self.kind == "choice":
            return CategoricalDistribution(list(range(len(self.choices))))
        if self.kind == "int":
            return IntDistribution(int(self.low), int(self.high))
        return FloatDistribution(self.low, self.high, log=self.kind == "log")

    def value(self, drawn: float) -> Any:
        """The value of a draw, to four significant digits, so that it can be typed."""
        if self.kind == "choice":
            return self.choices[int(drawn)]
        return int(drawn) if self.kind == "int" else float(f"{drawn:.4g}")

    @property
    def extremes(self) -> tuple[Any, ...]:
        """The choices, or the values at both ends of the range."""
        return self.choices or (self.value(self.low), self.value(self.high))


def check_space(space: Mapping[str, Any], fields: Mapping[str, FieldInfo]) -> None:
    """Refuse a space that holds what an experiment with these fields cannot be given.

    Raises:
        ValueError: a name is not a field to search, an entry has another form, or a value does not fit its field.
    """
    for name, one in read_space(space).items():
        if name not in fields:
            raise ValueError(f"search_space {name!r} is not a field{nearest(name, fields.keys() - _NOT_SEARCHED)}")
        if name in _NOT_SEARCHED:
            raise ValueError(f"search_space {name!r} is not a field to search, as trials must share it: leave it out")
        strict = ConfigDict(strict=True, allow_inf_nan=False)
        declared: Any = Annotated[fields[name].annotation, *fields[name].metadata, Field()]
        adapter: TypeAdapter[Any] = TypeAdapter(declared, config=strict)
        for value in one.extremes:
            try:
                adapter.validate_python(value)
            except ValidationError as error:
                reason = error.errors(include_url=False)[0]["msg"]
                raise ValueError(f"search_space {name} = {space[name]!r} may try {value!r}: {reason}") from None


def check_choices(choices: Mapping[str, Sequence[Any]], hooks: Sequence[str]) -> None:
    """Refuse choices for a hook that is not there, and those that no one can try.

    Args:
        choices: Values of every setting.
        hooks: What the experiment defines of :data:`heldout.config.code.POSTPROCESS`.

    Raises:
        ValueError: the hook is missing, or both are there; a setting has no values or one twice, or there are too many
            combinations.
    """
    if len(hooks) > 1:
        raise ValueError(f"{' and '.join(hooks)} are defined together: keep one, as all would be tuned by one score")
    if choices and not hooks:
        raise ValueError("postprocess_choices are settings of the hook postprocess: define it, or leave them out")
    for name, values in choices.items():
        if not name.isidentifier() or name in ("self", "result", "results", "table", "found"):
            raise ValueError(f"postprocess_choices {name!r} cannot name an argument of the hook postprocess")
        if not values or len({repr(value) for value in values}) != len(values):
            raise ValueError(f"postprocess_choices {name} = {values!r}: list different values")
    if (count := math.prod(map(len, choices.values()))) > MOST_CHOICES:
        raise ValueError(f"postprocess_choices are {count} combinations: leave {MOST_CHOICES} at most")


def read_space(space: Mapping[str, Any]) -> dict[str, Range]:
    """Read ``{"lr": ("log", 1e-4, 1e-2), "dropout": ("uniform", 0.0, 0.5), "augment": ["light", "strong"]}``.

    Raises:
        ValueError: an entry has another form.
    """
    return {name: _read(name, entry) for name, entry in space.items()}


def _read(name: str, entry: Any) -> Range:
    if isinstance(entry, list) and entry and len({str(value) for value in entry}) == len(entry):
        return Range("choice", choices=tuple(entry))
    if isinstance(entry, tuple) and len(entry) == 3 and entry[0] in KINDS:
        kind, low, high = entry
        numbers = all(isinstance(v, int if kind == "int" else int | float) for v in (low, high))
        if numbers and -_LARGEST <= low < high <= _LARGEST and (kind != "log" or low > 0):
            return Range(kind, low, high)
    raise ValueError(
        f'search_space {name} = {entry!r}: write ("log" | "uniform" | "int", low, high) with finite low < high, whole '
        'for "int", or a list of different values'
    )
