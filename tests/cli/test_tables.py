"""Tables in a terminal of 80 columns: figures are whole, names are broken, control characters spelled out."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from rich.console import Console

from heldout.cli import run
from heldout.cli.shared import print_table
from heldout.evaluate.row import Row
from heldout.files import REPOSITORY
from heldout.report.leaderboard import show
from heldout.report.tables import table_text

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


def test_columns_without_room_follow_in_further_tables(capsys):
    names = [f"Left Artery {number}" for number in range(14)]
    print_table("cases per part", ("part", *names), [("fold 0", *range(100, 114))], words=("part",))
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert all(name in " ".join(lines) for name in names)
    assert sum(line.split()[:2] == ["fold", "0"] for line in lines) == sum(line.startswith(" part") for line in lines)
    assert {str(number) for number in range(100, 114)} <= set(" ".join(lines).split())


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


FORMS = {
    "csv": "name,parent,title\nexp001,,",
    "md": "| name | parent | title |\n|---|---|---|\n| exp001 |  | ",
    "latex": "\\begin{tabular}{lll}\n\\toprule\nname & parent & title \\\\\n\\midrule\nexp001 &  & ",
    "json": '[\n  {\n    "name": "exp001",',
}


@pytest.mark.parametrize("form", FORMS)
def test_a_table_comes_alone_in_the_form_that_is_asked_for(form, capsys):
    assert run(["experiments", "exp001", "exp002", "--format", form]) == 0
    assert capsys.readouterr().out.startswith(FORMS[form])


def test_text_of_others_is_escaped_in_every_form():
    columns, rows = ("a_b", "n"), [["=1+1 & <b>|\x1b[2J", "-0.1"]]
    assert table_text("csv", columns, rows) == "a_b,n\n'=1+1 & <b>|\x1b[2J,-0.1\n"
    assert table_text("md", columns, rows).splitlines()[2] == r"| =1+1 &amp; &lt;b>\|\\x1b[2J | -0.1 |"
    made = table_text("latex", columns, rows)
    assert r"a\_b & n \\" in made
    assert r"=1+1 \& \ensuremath{<}b\ensuremath{>}\ensuremath{|}\textbackslash{}x1b[2J & -0.1 \\" in made
    assert "{lr}" in made


def test_plain_output_has_no_bars_and_a_line_for_each_step(home):
    words = [sys.executable, "run.py", "folds", "exp001+source_options={'patients':24,'size':32}", "--plain"]
    environment = {**os.environ, "FORCE_COLOR": "1", "TERM": "xterm-256color"}
    done = subprocess.run(words, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=True)
    assert "\x1b" not in done.stdout + done.stderr
    assert "━" not in done.stderr
    assert any(re.search(r": \d+ of \d+, \d+ s$", line) for line in done.stderr.splitlines()), done.stderr
    assert len(done.stderr.splitlines()) == len(set(done.stderr.splitlines()))


def test_plain_may_stand_before_an_experiment(capsys, monkeypatch):
    monkeypatch.setattr("heldout.cli.shared.set_plain", lambda: None)
    assert run(["--plain", "exp999"]) == 2
    assert "exps/exp999.py does not exist" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--show-completion", "--install-completion"])
def test_run_py_installs_no_completion_for_python(capsys, option):
    assert run([option]) == 2
    assert "run `heldout --install-completion`" in capsys.readouterr().err


def test_shell_completion_knows_the_commands():
    environment = {**os.environ, "COMP_WORDS": "heldout lea", "COMP_CWORD": "1", "_HELDOUT_COMPLETE": "complete_bash"}
    environment |= {"PYTHONPATH": str(REPOSITORY / "src")}
    code = "import sys; sys.argv[0] = 'heldout'; from heldout.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["leaderboard"], done.stderr
