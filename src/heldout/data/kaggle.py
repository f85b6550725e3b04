"""Kaggle's official client, which downloads and uploads; its answers become one sentence where they are refusals."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from heldout.errors import UserError
from heldout.records import read_json

_REMEDY = "check the name, your token in ~/.kaggle, and that you accepted the rules on its page"
_REFUSED = re.compile(r"[\w ]+ error: ")  # what the client may say and end as if all were well
_WAIT = 5.0  # seconds between questions about a dataset that Kaggle is processing


def submit_file(competition: str, path: Path, message: str) -> str:
    """Upload a submission to a competition.

    Args:
        competition: Its slug.
        path: The file.
        message: Shown beside it on Kaggle.

    Returns:
        What Kaggle answers.

    Raises:
        UserError: the client is missing or refuses.
    """
    return _call(["competitions", "submit", competition, "-f", str(path), "-m", message], f"submit to {competition}")


def push_kernel(folder: Path, message: str, *, patience: float = 600.0) -> list[str]:
    """Upload what ``kernel`` wrote: the dataset, as a new version where it exists, then the notebook.

    Args:
        folder: ``kaggle_kernels/NAME``.
        message: Of the new version.
        patience: Most seconds to wait until Kaggle has processed the dataset.

    Returns:
        What Kaggle answers to each.

    Raises:
        UserError: the folder is not of ``kernel``, names no owner, or the client is missing or refuses.
    """
    dataset, notebook = folder / "dataset", folder / "notebook"
    about = dataset / "dataset-metadata.json"
    if not about.is_file() or not (notebook / "kernel-metadata.json").is_file():
        raise UserError(f"{folder} is not what `kernel` writes: run `python run.py kernel {folder.name}` first")
    again = f"run `python run.py kernel {folder.name} --user NAME` again"
    metadata = read_json(about, again)
    name = metadata.get("id") if isinstance(metadata, dict) else None
    if not isinstance(name, str) or "/" not in name or name.startswith("USER/"):
        raise UserError(f"{about} names no owner: {again}")
    if _status(name):
        said = [_call(["datasets", "version", "-p", str(dataset), "-m", message, "-r", "zip"], f"upload {dataset}")]
    else:
        said = [_call(["datasets", "create", "-p", str(dataset), "-r", "zip"], f"upload {dataset}")]
    until = time.monotonic() + patience
    while (status := _status(name)) != "ready":
        if time.monotonic() > until:
            raise UserError(
                f"Kaggle has not processed {name} after {patience:.0f} s ({status or 'unknown'}): run push again later"
            )
        time.sleep(min(_WAIT, patience))
    return [*said, _call(["kernels", "push", "-p", str(notebook)], f"upload {notebook}")]


def download_output(name: str, folder: Path) -> Path:
    """Download the output of a notebook (``owner/name``) into a folder; returns it.

    Raises:
        UserError: the client is missing or refuses.
    """
    _call(["kernels", "output", name, "-p", str(folder)], f"download the output of {name}")
    return folder


def download_archive(name: str, folder: Path) -> Path:
    """Download the archive of a dataset (``owner/name``) or a competition.

    Raises:
        UserError: the client is missing or refuses.
    """
    what = ["datasets", "download", name] if "/" in name else ["competitions", "download", "-c", name]
    _call([*what, "-p", str(folder)], f"download {name}")
    found = sorted(folder.glob("*.zip"))
    if not found:
        raise UserError(f"kaggle downloaded no archive of {name}: {_REMEDY}")
    return found[0]


def _status(dataset: str) -> str:
    """State of a dataset on Kaggle, such as ``ready``; empty where there is none."""
    done = _run(["datasets", "status", dataset])
    return "" if done.returncode else done.stdout.strip().lower().rpartition("\n")[2].rpartition(".")[2]


def _call(words: list[str], doing: str) -> str:
    done = _run(words)
    said = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    errors = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    refused = [line for line in said if _REFUSED.match(line)]
    if done.returncode or refused:
        why = (refused or errors or said or ["no answer"])[-1]
        raise UserError(f"kaggle cannot {doing} ({why}): {_REMEDY}")
    return said[-1] if said else ""


def _run(words: list[str]) -> subprocess.CompletedProcess[str]:
    program = shutil.which("kaggle")
    client = [sys.executable, "-m", "kaggle"] if program is None else [program]
    if program is None and importlib.util.find_spec("kaggle") is None:
        raise UserError(
            "Kaggle's client is missing: run `pip install 'heldout[kaggle]'` and put its token into ~/.kaggle"
        )
    return subprocess.run([*client, *words], capture_output=True, text=True, check=False)
