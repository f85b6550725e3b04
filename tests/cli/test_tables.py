"""Tables in a terminal of 80 columns: figures are whole, names are broken, control characters spelled out."""

from __future__ import annotations

import pytest
from rich.console import Console

from heldout.cli import run
from heldout.cli.shared import print_table
from heldout.evaluate.row import Row
from heldout.report.leaderboard import show

LONG = "exp040_lite0+dataset=bones,lr=0.001,epochs=30,image_size=(512,512)"


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


def test_names_are_whole_and_figures_are_not_broken(capsys):
    rows = [(LONG, 0.1234, "0.5678"), None, ("[b]\x1b[2J", 1.0, "-")]
    print_table("dice_pos of [red]", ("weights", "in-sample", "cross-fitted"), rows, words=("weights",))
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert LONG in "".join(line[:55].strip() for line in lines)
    assert any("0.1234" in line and "0.5678" in line for line in lines)
    assert any("[b]\\x1b[2J" in line for line in lines)
    assert lines[0].startswith("dice_pos of [red]")


def test_the_leaderboard_has_two_lines_a_row_and_the_columns_that_fit(capsys):
    tested = {"test_score": 0.7, "test_low": 0.6, "test_high": 0.8, "at_half": 0.6, "fold_spread": 0.01}
    rows = [
        Row(name, "run", "A title " * 20, "bones", "dice_pos", score=0.8, low=0.7, high=0.9, complete=True, **tested)
        for name in (LONG, "exp001")
    ]
    show(rows, Console(width=80, highlight=False))
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert len(lines) <= 12
    assert any("0.8000 [0.700, 0.900]" in line and "0.7000 [0.600, 0.800]" in line for line in lines)
    assert any(line.startswith("Not shown at this width:") for line in lines)


def test_experiments_take_a_line_each(capsys):
    assert run(["experiments"]) == 0
    lines = capsys.readouterr().out.splitlines()
    listed = [line for line in lines if line.strip().startswith("exp")]
    assert len(lines) <= len(listed) + 6
    assert max(map(len, listed)) <= 80
    assert any(line.split()[:2] == ["exp002", "exp001"] for line in listed)  # its parent
    assert run(["experiments", "exp001"]) == 0
    assert "with rare, small and large lesions." in " ".join(capsys.readouterr().out.split())
