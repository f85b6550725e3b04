"""Write the file of a new experiment."""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from heldout import files
from heldout.config import load
from heldout.errors import UserError

LONGEST_TITLE = 100
LONGEST_LINE = 112


def write_experiment(name: str, parent: str, title: str, fields: Mapping[str, Any]) -> Path:
    """Write ``exps/<name>.py``, an experiment that differs from its parent by some fields, and load it once.

    Args:
        name: ``exp060`` or ``exp060_word``.
        parent: An experiment, or a task class such as ``Segment2D``.
        title: First line of its docstring.
        fields: What it sets.

    Returns:
        The file.

    Raises:
        UserError: the name is taken or not an experiment's, the title does not fit in a line, there is no such parent,
            or a field does not fit.
    """
    from heldout.tasks import TASKS

    path = files.project() / "exps" / f"{name}.py"
    if not re.fullmatch(r"exp\d{3}(_[a-z0-9]+)*", name):
        raise UserError(f"{name!r} cannot name an experiment: write exp and three digits, then _words: exp060_stretch")
    if path.exists():
        raise UserError(f"{path} exists already: choose another name, or edit that file")
    if not title.strip() or len(title) > LONGEST_TITLE or not title.isprintable() or '"' in title or "\\" in title:
        raise UserError(
            f"--title {title!r}: write one line of 1 to {LONGEST_TITLE} letters, without double quotes and backslashes"
        )
    tasks = {task.__name__: task for task in TASKS}
    base = tasks.get(parent) or type(load(parent))
    module = "heldout.tasks" if parent in tasks else base.__module__
    files.write_text(path, experiment_source(name, module, base, title.strip(), fields))
    sys.modules.pop(f"exps.{name}", None)
    importlib.invalidate_caches()
    try:
        load(name)
    except UserError:
        path.unlink()
        sys.modules.pop(f"exps.{name}", None)
        raise
    return path


def experiment_source(name: str, module: str, base: type, title: str, fields: Mapping[str, Any]) -> str:
    """The text of an experiment's file.

    Args:
        name: Such as ``exp060_word``.
        module: Where its base is imported from.
        base: The experiment or task that it subclasses.
        title: First line of its docstring.
        fields: What it sets.

    Example:
        >>> from heldout.tasks import Segment2D
        >>> source = experiment_source("exp060_large", "heldout.tasks", Segment2D, "Larger images.", {"epochs": 9})
        >>> source.splitlines()[-2:]
        ['class Exp060Large(Segment2D):', '    epochs = 9']
    """
    lines = [f"    {key} = {_literal(value, len(key) + 3)}" for key, value in fields.items()]
    body = "\n".join(lines) or f'    """Set fields here; `python run.py fields {name}` lists them."""'
    class_name = "".join(part.capitalize() for part in name.split("_"))
    return f'"""{title}"""\n\nfrom {module} import {base.__name__}\n\n\nclass {class_name}({base.__name__}):\n{body}\n'


def _literal(value: Any, before: int) -> str:
    """A value as Python code, a dictionary that does not fit into a line with an entry on each."""
    text = json.dumps(value) if isinstance(value, str) else repr(value)
    if not isinstance(value, dict):
        return text
    entries = [f"{json.dumps(key)}: {_literal(entry, 0)}" for key, entry in value.items()]
    line = f"{{{', '.join(entries)}}}"
    if len(line) + before <= LONGEST_LINE:
        return line
    return "{\n" + "".join(f"        {entry},\n" for entry in entries) + "    }"
