"""The documentation names commands, options, files, experiments, fields and records that exist, and all of them."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import pkgutil
import re
import runpy
from collections.abc import Iterator
from typing import get_args, get_type_hints

import pytest
import typer
from pydantic import BaseModel, TypeAdapter

import heldout
from heldout.cli import app, import_commands
from heldout.config import names
from heldout.files import REPOSITORY
from heldout.records import Record
from heldout.train.record import Settings

PAGES = [REPOSITORY / name for name in ("README.md", "CHANGELOG.md", "RESULTS.md")]
PAGES += sorted((REPOSITORY / "docs").glob("*.md"))
import_commands()
COMMANDS = typer.main.get_command(app).commands
of_every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@of_every_page
def test_commands_and_their_options_exist(page):
    for words in re.findall(r"python run\.py ([^\n`#|]+)", page.read_text(encoding="utf-8")):
        name = words.split()[0]
        if name.startswith("-") or name.isupper():
            continue
        command = "train" if re.match(r"exp\d", name) else name
        assert command in COMMANDS, f"python run.py {words}"
        found = COMMANDS[command]
        for word in words.split()[1:2]:
            found = getattr(found, "commands", {}).get(word, found)  # of a group, such as `queue add`
        known = {option for parameter in found.params for option in parameter.opts}
        assert set(re.findall(r"--[a-z-]+", words)) <= known | {"--help"}, f"python run.py {words}"


@of_every_page
def test_make_targets_exist(page):
    rules = re.findall(r"^([a-z][a-z -]*):", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    targets = {target for rule in rules for target in rule.split()}
    assert set(re.findall(r"(?:`|^)make ([a-z-]+)", page.read_text(encoding="utf-8"), re.MULTILINE)) <= targets


@of_every_page
def test_linked_files_exist(page):
    for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert link.startswith("https://") or (page.parent / link).exists(), link


@of_every_page
def test_named_experiments_exist(page):
    made_up = {"exp100", "exp101", "exp102", "exp103", "exp104"}  # those that the pages write
    made_up |= {f"exp{number}" for number in range(110, 119)}  # and hooks.md
    assert set(re.findall(r"\bexp\d{3}(?:_\w+)?\b", page.read_text(encoding="utf-8"))) - made_up <= set(names())


def test_pages_are_short_and_in_the_index():
    lengths = {page.name: len(page.read_text(encoding="utf-8").splitlines()) for page in PAGES}
    assert lengths["README.md"] <= 120
    index = (REPOSITORY / "docs" / "index.md").read_text(encoding="utf-8")
    assert all(page.name in index for page in PAGES if page.name not in ("README.md", "index.md"))


def test_the_named_modules_exist():
    text = (REPOSITORY / "docs" / "house.md").read_text(encoding="utf-8")
    for path in re.findall(r"`(\w+/[\w/]*(?:\.py)?)`", text):
        assert (REPOSITORY / "src" / "heldout" / path).exists() or (REPOSITORY / path).exists(), path


def test_fields_are_those_of_the_code():
    written = (REPOSITORY / "docs" / "fields.md").read_text(encoding="utf-8")
    assert written == runpy.run_path(str(REPOSITORY / ".ci" / "fields.py"))["page"](), "run `make docs`"
    from heldout.tasks import TASKS

    listed = set(re.findall(r"^\| `(\w+)`", written, re.MULTILINE))
    assert listed == {field for task in TASKS for field in task.model_fields}


@pytest.mark.extras
def test_options_and_settings_of_the_service_are_those_of_the_code():
    pytest.importorskip("pydantic_settings")
    from heldout.serve.options import Options
    from heldout.serve.settings import PREFIX, ServeSettings

    written = (REPOSITORY / "docs" / "serving-options.md").read_text(encoding="utf-8")
    assert written == runpy.run_path(str(REPOSITORY / ".ci" / "fields.py"))["service_page"](), "run `make docs`"
    listed = set(re.findall(r"^\| `(\w+)`", written, re.MULTILINE))
    assert listed == {*Options.model_fields, *(PREFIX + name.upper() for name in ServeSettings.model_fields)}
    for page in PAGES:  # variables that pages name are settings
        named = set(re.findall(rf"{PREFIX}(\w+)", page.read_text(encoding="utf-8")))
        assert named <= {name.upper() for name in ServeSettings.model_fields}, page.name


def parts(hint: object) -> Iterator[type]:
    """Classes with fields that a type names."""
    if isinstance(hint, type) and (issubclass(hint, BaseModel) or dataclasses.is_dataclass(hint)):
        yield hint
    for one in get_args(hint):
        yield from parts(one)


def record_classes() -> dict[str, type]:
    """Classes of records that are files, and of all that they hold, by name."""
    for module in pkgutil.walk_packages(heldout.__path__, "heldout."):
        with contextlib.suppress(ModuleNotFoundError):  # of a package that only some commands need
            importlib.import_module(module.name)
    found, waiting = set(), [Record]
    while waiting:
        cls = waiting.pop()
        waiting += {
            *cls.__subclasses__(),
            *(one for hint in get_type_hints(cls).values() for one in parts(hint)),
        } - found
        found.add(cls)
    own = [cls for cls in found if cls.__module__.startswith("heldout.")]
    return {cls.__name__: cls for cls in own if dataclasses.is_dataclass(cls) or cls.model_fields}


def test_fields_of_records_are_in_the_page_of_formats():
    text = (REPOSITORY / "docs" / "formats.md").read_text(encoding="utf-8")
    tables = dict(
        re.findall(r"^\| field of [^|\n]*\(`(\w+)`\) \| content \|\n\|---\|---\|\n((?:\|.*\n)+)", text, re.MULTILINE)
    )
    classes = record_classes()
    classes.pop(Settings.__name__)  # fields of experiments: fields.md
    assert set(tables) == set(classes), "one table for each record"
    for name, cls in classes.items():
        listed = re.findall(r"`(\w+)`", " ".join(row.split("|")[1] for row in tables[name].splitlines()))
        declared = TypeAdapter(cls).json_schema()["properties"]  # by their names on disk
        assert sorted(listed) == sorted(declared), name


def test_the_reference_names_what_there_is():
    page = (REPOSITORY / "docs" / "api.md").read_text(encoding="utf-8")
    for name, members in re.findall(r"^::: ([\w.]+)\n    options:\n      members: \[([^]]*)\]", page, re.MULTILINE):
        module = importlib.import_module(name)
        assert [one for one in members.split(", ") if not hasattr(module, one)] == []
