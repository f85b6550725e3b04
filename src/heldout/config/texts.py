"""The texts of configurations: overrides as written on the command line, and what an error says."""

from __future__ import annotations

import ast
import difflib
import re
from typing import Any, get_args, get_origin

from pydantic import ValidationError

from heldout.errors import UserError


def split(text: str) -> list[str]:
    """Split ``a=1,b=(2,3)`` at the commas before a ``name=``."""
    return [part for part in re.split(r",(?=\w+=)", text) if part]


def parse(text: str) -> tuple[str, Any]:
    """``lr=1e-4`` to ``("lr", 0.0001)``; what is not a Python literal stays text."""
    key, equals, value = text.partition("=")
    if not equals:
        raise UserError(f"--set {text}: write field=value, such as --set lr=1e-4")
    try:
        return key.strip(), ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return key.strip(), value.strip()


def as_declared(value: Any, annotation: Any) -> Any:
    """A list, and the lists in it, as tuples where a field's type says tuple: JSON and tables show tuples as lists."""
    if not isinstance(value, list | tuple) or not _has_tuple(annotation):
        return value
    return tuple(as_declared(part, annotation) for part in value)


def _has_tuple(annotation: Any) -> bool:
    return get_origin(annotation) is tuple or any(map(_has_tuple, get_args(annotation)))


def compact(value: Any) -> str:
    """A value as written in the name of a run: no blanks, no slashes."""
    return str(value).replace(" ", "").replace("/", "_")


def nearest(name: str, known: Any) -> str:
    """``; did you mean ...?`` for the known name that is closest to one misspelt, or nothing."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def first_error(error: ValidationError) -> str:
    """The first of what is wrong with a configuration, as one clause that names the field."""
    first = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "tuple_type":
        message += ": write (value, value, ...)"
    return f"{field} = {first['input']!r}: {message}" if field else message
