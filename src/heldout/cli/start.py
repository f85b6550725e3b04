"""The command that lays out the folder of a new project."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from heldout import files
from heldout.cli.shared import command, finish
from heldout.errors import UserError
from heldout.escape import markdown

TEMPLATE = Path(__file__).with_name("project")


@command("python run.py start my-competition")
def start(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="the folder to make, such as my-competition")],
) -> None:
    """Lay out a project of its own: folders, run.py, and first experiments that run at once."""
    lay_out(folder)
    print(f"cd {folder}")
    finish(f"{folder}/ (exps, input, working, submissions, kaggle_kernels, tests, run.py, README.md)", "demo")


def lay_out(folder: Path) -> None:
    """Copy the template of a project into a folder.

    Raises:
        UserError: the folder holds files, or it is not a folder.
    """
    if folder.exists() and (not folder.is_dir() or any(entry.name != ".lock" for entry in folder.iterdir())):
        raise UserError(f"{folder} exists already and is not an empty folder: choose another name, or empty it")
    for source in sorted(TEMPLATE.rglob("*")):
        if source.is_file() and "__pycache__" not in source.parts:
            target = source.relative_to(TEMPLATE).as_posix()
            files.write_bytes(folder / target.replace("gitignore", ".gitignore"), source.read_bytes())
    readme = (TEMPLATE / "README.md").read_text(encoding="utf-8")
    files.write_text(folder / "README.md", f"# {markdown(folder.resolve().name)}\n\n{readme}")
