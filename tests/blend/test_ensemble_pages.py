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


@pytest.mark.journey
def test_members_of_two_sizes_are_stacked_limited_and_shared_with_others(tmp_path):
    copy_project(tmp_path)
    pages = [(REPOSITORY / "docs" / f"{name}.md").read_text(encoding="utf-8") for name in ("ensembles", "exchange")]
    printed = follow("\n".join(pages), tmp_path, FASTER)
    [small] = [text for line, text in printed.items() if "--name small" in line]
    weights = [float(value) for value in re.findall(r"^  (\d\.\d{3})  exp", small, re.MULTILINE)]
    assert sorted(weights) == [0, 1]
    sent = pd.read_csv(tmp_path / "submissions" / "stacked.csv")
    assert sent.drop(columns=sent.columns[0]).to_numpy(float).min() >= 0
    [parts] = [text for line, text in printed.items() if "--name parts" in line]
    assert "tuned, all classes alike" in " ".join(parts.split())
    masks = sorted(path.name for path in (tmp_path / "found").glob("*.png"))
    assert masks == sorted(path.name for path in (tmp_path / "input" / "phantom" / "submit").glob("*.png"))
    [kernel] = [text for line, text in printed.items() if line.startswith("kernel parts")]
    assert "exactly" in kernel or "equal" in kernel, kernel
    [together] = [text for line, text in printed.items() if "--name together" in line]
    assert "predictions of Ana, made elsewhere" in together
