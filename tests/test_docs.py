"""The documentation names commands, files and experiments that exist."""

from __future__ import annotations

import re

import pytest
import typer

from heldout.cli import app
from heldout.config import names
from heldout.files import REPOSITORY

PAGES = sorted([REPOSITORY / "README.md", REPOSITORY / "CHANGELOG.md", *(REPOSITORY / "docs").glob("*.md")])
COMMANDS = set(typer.main.get_command(app).commands)
OWN = re.compile(r"exp\d{3}\w*")  # experiments stand for `train` with their name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_exist(page):
    for word in re.findall(r"python run\.py ([^\s`]+)", page.read_text(encoding="utf-8")):
        assert word in COMMANDS or OWN.match(word) or word.startswith("-") or word.isupper(), word


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_linked_files_exist(page):
    for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert link.startswith("https://") or (page.parent / link).exists(), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_experiments_named_by_a_page_exist(page):
    made_up = {"exp100", "exp101"}  # those that new-competition.md writes
    assert set(re.findall(r"\bexp\d{3}(?:_\w+)?\b", page.read_text(encoding="utf-8"))) - made_up <= set(names())


def test_the_readme_is_short_and_every_page_is_in_the_index():
    assert len((REPOSITORY / "README.md").read_text(encoding="utf-8").splitlines()) <= 120
    index = (REPOSITORY / "docs" / "index.md").read_text(encoding="utf-8")
    assert all(page.name in index for page in (REPOSITORY / "docs").glob("*.md") if page.name != "index.md")


def test_the_named_modules_exist():
    text = (REPOSITORY / "docs" / "house.md").read_text(encoding="utf-8")
    for path in re.findall(r"`(\w+/[\w/]*(?:\.py)?)`", text):
        assert (REPOSITORY / "src" / "heldout" / path).exists() or (REPOSITORY / path).exists(), path
