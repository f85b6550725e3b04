"""docs/ensembles.md and docs/exchange.md, followed to the letter on phantoms."""

from __future__ import annotations

import re

import pandas as pd
import pytest

from heldout.files import REPOSITORY
from tests.followed import copy_project, follow

FASTER = {
    "    image_size = (64, 64)": "    image_size = (48, 48)\n    epochs = 2",
    "exp004": "exp004+epochs=2",
    "exps.exp004+epochs=2": "exps.exp004",
    '"resnet18"': '"resnet10t"',
    '"tu-resnet18"': '"tu-resnet10t"\n    seeds = (0,)',
    "--method stack": "--method stack --trials 4",
    "--max-": "--trials 4 --max-",
    "exp001": "exp001+epochs=2,seeds=(0,)",
    "exps.exp001+epochs=2,seeds=(0,)": "exps.exp001",
    "--method classes": "--method classes --trials 4",
}


def page(name):
    return (REPOSITORY / "docs" / f"{name}.md").read_text(encoding="utf-8")


def by_class(text):
    """The section on weights by class."""
    return re.search(r"^## Weights by class of masks\n.*?(?=^## )", text, re.MULTILINE | re.DOTALL)[0]


@pytest.mark.journey
def test_members_of_two_sizes_are_stacked_limited_and_shared_with_others(tmp_path):
    copy_project(tmp_path)
    ensembles, exchange = (page(name) for name in ("ensembles", "exchange"))
    printed = follow(ensembles.replace(by_class(ensembles), "") + exchange, tmp_path, FASTER)
    [small] = [text for line, text in printed.items() if "--name small" in line]
    weights = [float(value) for value in re.findall(r"^  (\d\.\d{3})  exp", small, re.MULTILINE)]
    assert sorted(weights) == [0, 1]
    sent = pd.read_csv(tmp_path / "submissions" / "stacked.csv")
    assert sent.drop(columns=sent.columns[0]).to_numpy(float).min() >= 0
    [together] = [text for line, text in printed.items() if "--name together" in line]
    assert "predictions of Ana, made elsewhere" in together


@pytest.mark.journey
def test_masks_with_weights_by_class_reach_a_submission_and_a_kernel(tmp_path):
    copy_project(tmp_path)
    printed = follow(by_class(page("ensembles")), tmp_path, FASTER)
    [parts] = [text for line, text in printed.items() if "--name parts" in line]
    assert "tuned, all classes alike" in " ".join(parts.split())
    new = [path.stem for path in (tmp_path / "input" / "phantom" / "submit").glob("*.png")]
    expected = sorted(f"{name}_{label}.png" for name in new for label in ("small", "large"))
    assert sorted(path.name for path in (tmp_path / "found").glob("*.png")) == expected
    assert (tmp_path / "submissions" / "parts.csv").is_file()
    [kernel] = [text for line, text in printed.items() if line.startswith("kernel parts")]
    assert "equal to the last bit" in " ".join(kernel.split())
