"""The settings that decide about prepared arrays."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Self

from heldout import files
from heldout.config.legacy import EARLIER_FIELDS

if TYPE_CHECKING:
    from heldout.config import BaseConfig

VERSION = 1  # of the stored arrays: raise it when the same settings give other numbers


@dataclass(frozen=True)
class Recipe:
    """The settings of an experiment that decide about prepared arrays, under the names of its fields."""

    channels: int
    spacing: tuple[float, float, float] | None
    crop: str
    image_size: tuple[int, ...] | None
    resize: str
    normalize: str
    percentiles: tuple[float, float]
    window: tuple[float, float]
    windows: tuple[tuple[float, float], ...] = ()

    @classmethod
    def of(cls, config: BaseConfig) -> Self:
        """Take the settings from an experiment."""
        return cls(**{field.name: getattr(config, field.name) for field in fields(cls)})

    def digest(self) -> str:
        """Hash that names the folder of prepared arrays."""
        return files.sha256_json({"version": VERSION, **self.to_dict()})[:8]

    def to_dict(self) -> dict[str, Any]:
        """Plain values by the fields' earlier names, without empty ``windows``, so that earlier digests stay valid."""
        values = {EARLIER_FIELDS.get(name, name): value for name, value in asdict(self).items()}
        return values if self.windows else {name: value for name, value in values.items() if name != "windows"}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Inverse of :meth:`to_dict`; lists of JSON become tuples.

        Raises:
            ValueError: a setting is missing or unknown.
        """
        names = {EARLIER_FIELDS.get(field.name, field.name): field.name for field in fields(cls)}
        if {*values, "windows"} != set(names):
            raise ValueError(f"not the settings of prepared arrays: {', '.join(sorted(values))}")
        return cls(**{names[name]: _as_tuple(value) for name, value in values.items()})


def _as_tuple(value: Any) -> Any:
    return tuple(map(_as_tuple, value)) if isinstance(value, list) else value
