"""Write the file of a new experiment."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

from heldout import files
from heldout.config import load
from heldout.config.texts import parse
from heldout.errors import UserError

LONGEST_TITLE = 100


def write_experiment(name: str, parent: str, title: str, settings: list[str]) -> Path:
    """Write ``exps/<name>.py``, an experiment that differs from its parent by some fields, and load it once.

    Args:
        name: ``exp060`` or ``exp060_word``.
        parent: An experiment, or a task class such as ``Segment2D``.
        title: First line of its docstring.
        settings: ``field=value`` texts that become its fields.

    Returns:
        The file.

    Raises:
        UserError: the name is taken or not an experiment's, the title does not fit in a line, there is no such parent,
            or a field does not fit.
    """
    from heldout.tasks import TASKS

    path = files.REPOSITORY / "exps" / f"{name}.py"
    if not re.fullmatch(r"exp\d{3}(_[a-z0-9]+)*", name):
        raise UserError(f"{name!r} cannot name an experiment: write exp and three digits, then _words: exp060_stretch")
    if path.exists():
        raise UserError(f"{path} exists already: choose another name, or edit that file")
    if not title.strip() or len(title) > LONGEST_TITLE or not title.isprintable() or '"' in title or "\\" in title:
        raise UserError(
            f"--title {title!r}: write one line of 1 to {LONGEST_TITLE} letters, without double quotes and backslashes"
        )
    if parent in {task.__name__ for task in TASKS}:
        imported, base = f"from heldout.tasks import {parent}", parent
    else:
        base = type(load(parent)).__name__
        imported = f"from exps.{load(parent).experiment} import {base}"
    lines = [f"    {key} = {value!r}" for key, value in map(parse, settings)]
    body = "\n".join(lines) or f'    """Set fields here; `python run.py fields {name}` lists them."""'
    class_name = "".join(part.capitalize() for part in name.split("_"))
    text = f'"""{title.strip()}"""\n\n{imported}\n\n\nclass {class_name}({base}):\n{body}\n'
    files.write_text(path, text)
    sys.modules.pop(f"exps.{name}", None)
    importlib.invalidate_caches()
    try:
        load(name)
    except UserError:
        path.unlink()
        sys.modules.pop(f"exps.{name}", None)
        raise
    return path
