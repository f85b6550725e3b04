"""Write the pages that list what the code declares; run by ``make docs``.

``docs/fields.md`` has the fields of an experiment, ``docs/serving-options.md`` options and settings of the service.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable

from pydantic import BaseModel

from heldout import files
from heldout.config.base import BaseConfig
from heldout.config.fields import allowed
from heldout.tasks import TASKS

HEAD = """# Fields of an experiment

Written by `make docs` from the code; do not edit by hand. An experiment sets fields as class attributes, a command with
`--set FIELD=VALUE`. `python run.py fields exp042` lists the values of one experiment, and which ancestor set them.
"""

SERVICE_HEAD = """# Options and settings of the service

Written by `make docs` from the code; do not edit by hand. [serving.md](serving.md) says what the service does.
"""
OPTIONS_HEAD = """## Options of requests

In the query, in fields of the form, or in the JSON body of any endpoint that takes a file. An option that an endpoint
has no use for changes nothing, and one that does not exist is refused. `/v1/corrections` has fields of its own.
"""
SETTINGS_HEAD = """## Settings

Variables of the environment, or lines of a file `.env` in the working directory. Lists are separated by commas.
Settings that `python run.py serve --help` names have an option of the command too, which counts first.
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


def service_page() -> str:
    """The page of the service: a table of the options of requests, and one of its settings."""
    from heldout.serve.options import Options
    from heldout.serve.settings import PREFIX, ServeSettings

    options = table(Options, Options.model_fields, head="option")
    settings = table(ServeSettings, ServeSettings.model_fields, head="setting", prefix=PREFIX)
    return "\n".join((SERVICE_HEAD, OPTIONS_HEAD, options, SETTINGS_HEAD, settings))


def table(cls: type[BaseModel], names: Iterable[str], head: str = "field", prefix: str = "") -> str:
    """A Markdown table of some fields; a prefix makes the names of variables of the environment."""
    lines = [f"| {head} | default | allowed | description |", "|---|---|---|---|"]
    for name in names:
        field = cls.model_fields[name]
        default = repr(field.get_default(call_default_factory=True))
        named = [prefix + name.upper() if prefix else name, *filter(None, [field.alias])]
        cells = (", ".join(f"`{one}`" for one in named), f"`{default}`", f"`{allowed(field)}`", str(field.description))
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    files.write_text(files.REPOSITORY / "docs" / "fields.md", page())
    files.write_text(files.REPOSITORY / "docs" / "serving-options.md", service_page())
