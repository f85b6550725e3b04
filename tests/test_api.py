"""The API for notebooks: data frames, images, blends; light to import; its page and its notebook run."""

from __future__ import annotations

import re
import subprocess
import sys

import pandas as pd
import pytest

import heldout as ho
from heldout.errors import UserError
from heldout.evaluate.collect import find_row
from heldout.files import REPOSITORY
from tests.finished_runs import TINY

PAGE = (REPOSITORY / "docs" / "notebooks.md").read_text(encoding="utf-8")


@pytest.fixture
def two_runs(finish) -> list[str]:
    """Names of two runs, the second the better one."""
    return [finish(f"{TINY},lr={lr}", skill=skill) for lr, skill in ((0.1, 0.5), (0.2, 1.5))]


def test_importing_it_is_light():
    code = (
        "import heldout as ho, sys; sys.exit(any(n in sys.modules for n in ('numpy', 'pandas', 'torch', 'pydantic')))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY / "src", check=False).returncode == 0


def test_a_run_is_data_frames_and_pictures(two_runs, tmp_path):
    run = ho.run(two_runs[1])
    row = find_row(two_runs[1])
    assert len(run.oof) == row.cases
    assert {"case_id", "patient_id", "fold"} <= set(run.oof)
    scores = run.scores()
    assert scores.loc[row.metric, "score"] == pytest.approx(row.score)
    known = scores.dropna()
    assert len(known) > 5
    assert (known["low"] <= known["score"]).all()
    assert list(run.scores("brier").index) == ["brier"]
    worst = run.worst(3)
    assert worst["error"].is_monotonic_decreasing
    picture = run.show(worst["case_id"][0])
    assert picture._repr_png_().startswith(b"\x89PNG")
    assert picture.save(tmp_path / "case.png").read_bytes() == picture.png
    assert row.metric in repr(run)
    assert "<table" in run._repr_html_()


def test_the_leaderboard_is_ranked_and_a_blend_joins_it(two_runs):
    board = ho.leaderboard()
    assert isinstance(board, pd.DataFrame)
    assert board["name"].tolist() == two_runs[::-1]
    both = ho.blend(two_runs, trials=4)
    assert both.name in set(ho.leaderboard()["name"])
    assert ho.blend(two_runs, trials=4).name == both.name
    assert ho.compare(both, two_runs[0]).better == both.name


def test_mistakes_are_one_sentence(two_runs):
    with pytest.raises(UserError, match=r"blend takes a list of members: write \['exp001'\]"):
        ho.blend("exp001")
    with pytest.raises(UserError, match="has no out-of-fold prediction of case 'nobody'"):
        ho.run(two_runs[0]).show("nobody")
    with pytest.raises(UserError, match="metric 'auc' does not exist"):
        ho.run(two_runs[0]).scores("auc")
    with pytest.raises(UserError, match="needs masks"):
        ho.run(two_runs[0]).scores("dice_pos")
    with pytest.raises(UserError, match="blend needs a member"):
        ho.blend([])
    with pytest.raises(UserError, match="worst takes a number of cases: write 1 or more, not -1"):
        ho.run(ho.leaderboard()["name"][0]).worst(-1)


def test_the_page_runs(two_runs):
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(compile(block, "docs/notebooks.md", "exec"), {})


@pytest.mark.extras
def test_the_notebook_runs(two_runs, home, monkeypatch):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    monkeypatch.setenv("PYTHONPATH", f"{REPOSITORY / 'src'}:{REPOSITORY}")
    notebook = nbformat.read(REPOSITORY / "docs" / "notebook.ipynb", as_version=4)
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert sum("text/html" in output.get("data", {}) for output in outputs) >= 5
    assert not any(output.output_type == "error" for output in outputs)
