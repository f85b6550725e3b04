"""Write ``docs/fields.md``: every field of an experiment, as the code declares it. Run by ``make docs``."""

from __future__ import annotations

import inspect
import re

from heldout import files
from heldout.config.base import BaseConfig
from heldout.config.fields import allowed
from heldout.tasks import TASKS

HEAD = """# Fields of an experiment

Written by `make docs` from the code; do not edit by hand. An experiment sets fields as class attributes, a command with
`--set FIELD=VALUE`. `python run.py fields exp042` lists the values of one experiment, and which ancestor set them.
"""


def page() -> str:
    """The page: a table for each topic of fields that all tasks have, and one for each class of tasks."""
    classes = dict.fromkeys(
        cls for task in TASKS for cls in reversed(task.__mro__) if issubclass(cls, BaseConfig) and declared(cls)
    )
    parts = [HEAD]
    for cls in classes:
        users = [task.__name__ for task in TASKS if issubclass(task, cls)]
        for topic, names in declared(cls).items():
            title = topic if len(users) == len(TASKS) else ", ".join(f"`{name}`" for name in users)
            parts += [f"## {title}\n", table(cls, names)]
    return "\n".join(parts)


def declared(cls: type[BaseConfig]) -> dict[str, list[str]]:
    """Names of the fields that a class declares, by the comment that stands above them."""
    topic, found = "", {}
    for line in inspect.getsource(cls).splitlines():
        if comment := re.fullmatch(r"    # (.+)", line):
            topic = comment[1]
        elif (field := re.match(r"    (\w+): ", line)) and field[1] in cls.model_fields:
            found.setdefault(topic, []).append(field[1])
    return found


def table(cls: type[BaseConfig], names: list[str]) -> str:
    """A Markdown table of some fields."""
    lines = ["| field | default | allowed | description |", "|---|---|---|---|"]
    for name in names:
        field = cls.model_fields[name]
        default = repr(field.get_default(call_default_factory=True))
        cells = (f"`{name}`", f"`{default}`", f"`{allowed(field)}`", str(field.description))
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    files.write_text(files.REPOSITORY / "docs" / "fields.md", page())
