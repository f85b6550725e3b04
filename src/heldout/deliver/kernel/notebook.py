"""The notebook, the same as a script, and the two metadata files, as Kaggle's API wants them."""

from __future__ import annotations

import json
import re
from pathlib import Path

from heldout import files

SCRIPT = '''\
"""Predicts a competition's test cases with the sealed decision "{name}" of heldout, without a network."""

import os
import subprocess
import sys
from pathlib import Path

BUNDLE = Path(os.environ.get("HELDOUT_BUNDLE", "/kaggle/input/{slug}"))
TEST_CASES = Path(os.environ.get("HELDOUT_TEST_CASES", {inputs!r}))
WORKING = Path(os.environ.get("HELDOUT_WORKING", "/kaggle/working"))
PACKAGES = WORKING / ".packages"

# The package, and what Kaggle's image lacks, come from the bundle: nothing is downloaded.
wheels = [str(path) for path in sorted((BUNDLE / "wheels").glob("*.whl"))]
options = ["--no-index", "--no-deps", "--quiet", "--disable-pip-version-check", "--target", str(PACKAGES)]
subprocess.run([sys.executable, "-m", "pip", "install", *options, *wheels], check=True)
sys.path.insert(0, str(PACKAGES))

from heldout.deliver.kernel.runtime import run  # noqa: E402

run(BUNDLE, TEST_CASES, WORKING, most_failures={most_failures})
'''


def slug_of(name: str) -> str:
    """Name as Kaggle writes it in addresses: lower case letters, digits and single hyphens, with a prefix."""
    return f"heldout-{re.sub(r'[^a-z0-9]+', '-', name.lower()).strip('-')}"[:50].rstrip("-")


def write_notebook(folder: Path, name: str, *, user: str, competition: str, inputs: str, most_failures: float) -> Path:
    """Write ``<slug>.ipynb``, ``<slug>.py`` and ``kernel-metadata.json``.

    Args:
        folder: Folder of the notebook.
        name: Name of the decision.
        user: Kaggle user who owns notebook and dataset.
        competition: Name of the competition, or "".
        inputs: Folder of the test cases below ``/kaggle/input``.
        most_failures: Share of cases that may get the prior.

    Returns:
        The script.
    """
    slug = slug_of(name)
    script = SCRIPT.format(name=name, slug=slug, inputs=f"/kaggle/input/{inputs}", most_failures=most_failures)
    files.write_text(folder / f"{slug}.py", script)
    # cells end where a comment begins a new step
    cells = [_cell(source) for source in re.split(r"\n\n(?=#|from heldout)", script.strip())]
    notebook = {
        "cells": cells,
        "metadata": {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}},
        "nbformat": 4,
        "nbformat_minor": 4,
    }
    files.write_text(folder / f"{slug}.ipynb", json.dumps(notebook, indent=1) + "\n")
    metadata = {
        "id": f"{user}/{slug}-kernel",
        "title": f"{slug}-kernel",
        "code_file": f"{slug}.ipynb",
        "language": "python",
        "kernel_type": "notebook",
        "is_private": True,
        "enable_gpu": True,
        "enable_internet": False,
        "dataset_sources": [f"{user}/{slug}"],
        "competition_sources": [competition] if competition else [],
        "kernel_sources": [],
    }
    files.write_json(folder / "kernel-metadata.json", metadata)
    return folder / f"{slug}.py"


def write_dataset_metadata(folder: Path, name: str, user: str) -> None:
    """Write ``dataset-metadata.json`` beside the bundle's files."""
    slug = slug_of(name)
    metadata = {"title": slug, "id": f"{user}/{slug}", "licenses": [{"name": "other"}]}
    files.write_json(folder / "dataset-metadata.json", metadata)


def _cell(source: str) -> dict[str, object]:
    return {
        "cell_type": "code",
        "execution_count": None,
        "metadata": {},
        "outputs": [],
        "source": source.splitlines(keepends=True),
    }
