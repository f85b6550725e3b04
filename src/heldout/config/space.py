"""What a search over hyper-parameters may try, as an experiment writes it down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

KINDS = ("log", "uniform", "int")


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
        """What a draw stands for, to four significant digits, so that it can be typed."""
        if self.kind == "choice":
            return self.choices[int(drawn)]
        return int(drawn) if self.kind == "int" else float(f"{drawn:.4g}")


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
        if all(isinstance(v, int | float) for v in (low, high)) and low < high and (kind != "log" or low > 0):
            return Range(kind, low, high)
    raise ValueError(
        f'search_space {name} = {entry!r}: write ("log" | "uniform" | "int", low, high) with low < high, or a list of '
        "different values"
    )
