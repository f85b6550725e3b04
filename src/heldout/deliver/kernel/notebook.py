"""The notebook, the same as a script, and the two metadata files, as Kaggle's API wants them."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from heldout import files

SETUP = '''\
"""{purpose}"""

import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

INPUT = Path("/kaggle/input")


def mounted(name):
    """A dataset's or a competition's folder: right below the inputs, or below the kind of source that it is."""
    places = [INPUT / name, INPUT / "competitions" / name, *sorted(INPUT.glob(f"datasets/*/{{name}}"))]
    return next((place for place in places if place.is_dir()), places[0])


BUNDLE = Path(os.environ.get("HELDOUT_BUNDLE") or mounted({slug!r}))
WORKING = Path(os.environ.get("HELDOUT_WORKING", "/kaggle/working"))
PACKAGES = WORKING / ".packages"
os.environ["HF_HUB_OFFLINE"] = "1"  # a kernel that is scored has no network


def lacking(wheel):
    """Whether a wheel's package is missing here; heldout itself always comes from the bundle."""
    name = wheel.name.partition("-")[0]
    try:
        return name == "heldout" or not version(name)
    except PackageNotFoundError:
        return True


# The package, and what Kaggle's image lacks, come from the bundle: nothing is downloaded.
wheels = [str(path) for path in sorted((BUNDLE / "wheels").glob("*.whl")) if lacking(path)]
options = ["--no-index", "--no-deps", "--quiet", "--disable-pip-version-check", "--target", str(PACKAGES)]
subprocess.run([sys.executable, "-m", "pip", "install", *options, *wheels], check=True)
sys.path.insert(0, str(PACKAGES))
'''

TEST_CASES = """
TEST_CASES = Path(os.environ.get("HELDOUT_TEST_CASES") or mounted({inputs!r}))
"""

BATCH = """
from heldout.deliver.kernel.packages import check_packages  # noqa: E402

check_packages(BUNDLE)

from heldout.deliver.kernel.runtime import run  # noqa: E402

run(BUNDLE, TEST_CASES, WORKING, most_failures={most_failures})
"""

SERVER = '''
from heldout.deliver.kernel.packages import check_packages  # noqa: E402

check_packages(BUNDLE)

from heldout.deliver.kernel.rsna2025.server import SeriesServer  # noqa: E402

SHARED = Path(os.environ.get("HELDOUT_SHARED", "/kaggle/shared"))
MOST_FAILURES = float(os.environ.get("HELDOUT_MOST_FAILURES", "{most_failures}"))
series_server = SeriesServer(BUNDLE, WORKING, SHARED, most_failures=MOST_FAILURES, cases={cases})


def predict(series_path):
    """One row with the probability of every label; the gateway knows whose it is."""
    return series_server.predict(series_path)


# The competition's own server calls predict; its package lies beside the data.
sys.path.append(str(TEST_CASES))
import kaggle_evaluation.rsna_inference_server  # noqa: E402

server = kaggle_evaluation.rsna_inference_server.RSNAInferenceServer(predict)
if os.getenv("KAGGLE_IS_COMPETITION_RERUN"):
    server.serve()
else:
    server.run_local_gateway()
'''


def slug_of(name: str) -> str:
    """Name as Kaggle writes it in addresses: lower case letters, digits and single hyphens, with a prefix."""
    return f"heldout-{re.sub(r'[^a-z0-9]+', '-', name.lower()).strip('-')}"[:50].rstrip("-")


@dataclass(frozen=True)
class Kernel:
    """How a kernel is to be written.

    Attributes:
        user: Kaggle user who owns notebook and dataset.
        competition: Name of the competition, or "".
        inputs: Folder of the test cases below ``/kaggle/input``.
        most_failures: Share of cases that may get the prior.
        mode: ``batch`` over a folder, or ``server`` that answers series by series.
        cases: Cases to expect in the hidden set; None where that is unknown.
    """

    user: str
    competition: str
    inputs: str
    most_failures: float
    mode: str = "batch"
    cases: int | None = None


def write_notebook(folder: Path, name: str, kernel: Kernel) -> Path:
    """Write ``<slug>.ipynb``, ``<slug>.py`` and ``kernel-metadata.json``.

    Args:
        folder: Folder of the notebook.
        name: Name of the decision.
        kernel: What it is to say.

    Returns:
        The script.
    """
    slug = slug_of(name)
    template = SETUP + TEST_CASES + (SERVER if kernel.mode == "server" else BATCH)
    fields = {"inputs": kernel.inputs, "most_failures": kernel.most_failures, "cases": kernel.cases}
    purpose = f'Predicts a competition\'s test cases with the sealed decision "{name}" of heldout, without a network.'
    competitions = [kernel.competition] if kernel.competition else []
    return write_script(folder, slug, template.format(purpose=purpose, slug=slug, **fields), kernel.user, competitions)


def write_script(folder: Path, slug: str, script: str, user: str, competitions: Sequence[str] = ()) -> Path:
    """Write a script, the same as a notebook, and the notebook's metadata.

    Args:
        folder: Folder of the notebook.
        slug: Name of the dataset that it reads.
        script: What it does.
        user: Kaggle user who owns both.
        competitions: Whose files it reads as well.

    Returns:
        The script.
    """
    files.write_text(folder / f"{slug}.py", script)
    # cells end where a comment begins a new step
    cells = [_cell(source) for source in re.split(r"\n\n+(?=#|from heldout)", script.strip())]
    notebook = {
        "cells": cells,
        "metadata": {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}},
        "nbformat": 4,
        "nbformat_minor": 4,
    }
    files.write_text(folder / f"{slug}.ipynb", json.dumps(notebook, indent=1) + "\n")
    title = f"{slug[: 50 - len('-kernel')].rstrip('-')}-kernel"  # Kaggle takes no more than 50
    metadata = {
        "id": f"{user}/{title}",
        "title": title,
        "code_file": f"{slug}.ipynb",
        "language": "python",
        "kernel_type": "notebook",
        "is_private": True,
        "enable_gpu": True,
        "enable_internet": False,
        "dataset_sources": [f"{user}/{slug}"],
        "competition_sources": list(competitions),
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
