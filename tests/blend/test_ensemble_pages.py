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
    "--method stack": "--method stack --trials 4",
    "--max-": "--trials 4 --max-",
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
    [together] = [text for line, text in printed.items() if "--name together" in line]
    assert "predictions of Ana, made elsewhere" in together
