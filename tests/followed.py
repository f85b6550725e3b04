"""Pages of docs/ followed to the letter: their experiments written, their commands run, in a copy of the project."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from heldout.files import REPOSITORY

NAMES = ("run.py", "pyproject.toml", "requirements.txt", "README.md", "LICENSE", "src", "exps")


def copy_project(folder: Path) -> None:
    """What a user has after cloning, without its own data and runs."""
    for name in NAMES:
        copy = shutil.copytree if (REPOSITORY / name).is_dir() else shutil.copy
        copy(REPOSITORY / name, folder / name)


def blocks(document: str, kind: str) -> list[str]:
    """Fenced blocks of a language."""
    return re.findall(rf"^```{kind}\n(.*?)^```", document, re.MULTILINE | re.DOTALL)


def follow(document: str, folder: Path, faster: Mapping[str, str]) -> dict[str, str]:
    """Write the page's experiments into a copy of the project and run its commands in their order.

    Args:
        document: The page.
        folder: The copy.
        faster: Texts that are replaced in experiments and commands, so that a test takes less time.

    Returns:
        What every command printed, by its words after ``python run.py``.
    """

    def shorten(text: str) -> str:
        for slow, fast in faster.items():
            text = text.replace(slow, fast)
        return text

    for text in map(shorten, blocks(document, "python")):
        (folder / "exps" / f"{re.search(r'class (Exp[0-9]+)', text)[1].lower()}.py").write_text(text)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HELDOUT")}
    printed = {}
    for line in map(shorten, re.findall(r"^python run\.py (.+)$", document, re.MULTILINE)):
        command = [sys.executable, "run.py", *shlex.split(line)]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        printed[line] = done.stdout
    return printed
