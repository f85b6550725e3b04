"""What can be set: every field of an experiment with its value, its default, who set it, and what it may be."""

from __future__ import annotations

import types
from dataclasses import dataclass
from typing import Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from heldout.config.base import BaseConfig


@dataclass(frozen=True)
class FieldRow:
    """One field of an experiment.

    Attributes:
        name: Its name.
        value: Its value in the experiment.
        default: Its value where no experiment sets it.
        set_by: The experiment, budget or override that gave the value; the task or base class for a default.
        allowed: What it may be: a type, choices, bounds.
        description: What it does.
    """

    name: str
    value: Any
    default: Any
    set_by: str
    allowed: str
    description: str


def field_rows(config: BaseConfig) -> list[FieldRow]:
    """Every field of an experiment, in the order in which the classes declare them.

    Example:
        >>> from heldout.config import load
        >>> row = next(row for row in field_rows(load("exp002")) if row.name == "epochs")
        >>> row.value, row.default, row.set_by, row.allowed
        (6, 20, 'exp001', 'int >= 1')
    """
    task = config.task_class()
    return [
        FieldRow(
            name=name,
            value=getattr(config, name),
            default=task.model_fields[name].get_default(call_default_factory=True),
            set_by=_set_by(config, name),
            allowed=allowed(field),
            description=field.description or "",
        )
        for name, field in type(config).model_fields.items()
    ]


def allowed(field: FieldInfo) -> str:
    """What a field may be, in words: ``'last' | 'best'``, ``float > 0``, ``int >= 1 | None``."""
    bounds = [
        f"{sign} {getattr(part, attribute):g}"
        for part in field.metadata
        for attribute, sign in (("gt", ">"), ("ge", ">="), ("lt", "<"), ("le", "<="))
        if getattr(part, attribute, None) is not None
    ]
    return _words(field.annotation, ", ".join(bounds))


def _words(annotation: Any, bounds: str) -> str:
    if get_origin(annotation) is Literal:
        return " | ".join(map(repr, get_args(annotation)))
    if get_origin(annotation) in (Union, types.UnionType):
        parts = get_args(annotation)
        return " | ".join(_words(part, "" if part is types.NoneType else bounds) for part in parts)
    if annotation is types.NoneType:
        return "None"
    if get_origin(annotation) is tuple:
        return f"({', '.join('...' if part is ... else _words(part, '') for part in get_args(annotation))})"
    name = getattr(annotation, "__name__", str(annotation)) if not get_args(annotation) else str(annotation)
    name = name.replace("typing.", "")
    return f"{name} {bounds}" if bounds and annotation in (int, float) else name


def _set_by(config: BaseConfig, name: str) -> str:
    if name in config.overrides:
        return "--set"
    if config.budget is not None and name in config.budgets[config.budget]:
        return f"budget {config.budget}"
    for base in type(config).__mro__:
        if name in vars(base).get("__annotations__", {}):
            package, _, module = base.__module__.rpartition(".")
            return module if package == "exps" else base.__name__
    raise AssertionError(f"{name} is declared by no class of {type(config).__name__}")
