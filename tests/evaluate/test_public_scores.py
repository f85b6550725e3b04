"""Scores a competition showed are kept, belong to what was submitted, and are compared with out-of-fold scores."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from heldout.cli import run
from heldout.evaluate.collect import collect
from heldout.evaluate.public_scores import correlate, public_scores_path, read_public_scores
from heldout.evaluate.row import Correlation, Row
from heldout.report.format import agreement_text
from heldout.train.runs import fit_folder

VALUES = st.sampled_from([0.1, 0.2, 0.25, 0.4, 0.7, 0.9])


def row_of(name):
    return next(row for row in collect() if row.name == name)


def test_every_entry_is_kept_and_the_last_is_shown(finish, home, capsys):
    spec = finish()
    (home / "submissions").mkdir()
    (home / "submissions" / f"{spec}.csv").write_text("id,p\n")
    assert run(["lb", spec, "--public", "0.81", "--note", "first try"]) == 0
    assert run(["lb", spec, "--public", "0.79"]) == 0
    assert run(["lb", spec, "--private", "0.77"]) == 0
    assert "public_scores.jsonl" in capsys.readouterr().out
    row = row_of(spec)
    assert (row.public, row.private, row.public_note) == (0.79, 0.77, "first try")
    assert row.submission == f"submissions/{spec}.csv"
    entries = read_public_scores()
    assert [entry.public for entry in entries] == [0.81, 0.79, None]
    assert entries[0].identity == row.identity
    assert entries[0].score == row.score
    assert len(entries[0].submission_sha256) == 64


def test_a_score_of_an_earlier_version_is_not_taken_for_this_one(finish, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")  # the column of public scores is one of the first that a narrow table drops
    spec = finish(seeds=(0,))
    assert run(["lb", spec, "--public", "0.81"]) == 0
    assert row_of(spec).public == 0.81
    finish(spec, seeds=(1,))
    row = row_of(spec)
    assert row.public is None
    assert row.public_outdated
    capsys.readouterr()
    assert run(["leaderboard"]) == 0
    assert "earlier version" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["exp0044", "--public", "0.8"], "neither a run with a finished fold nor a blend"),
        (["../data", "--public", "0.8"], "neither a run with a finished fold nor a blend"),
        (["SPEC", "--public", "good"], "--public"),
        (["SPEC", "--public", "nan"], "--public nan is not finite"),
        (["SPEC", "--private", "inf"], "--private inf is not finite"),
        (["SPEC"], "add --public 0.81"),
    ],
)
def test_what_is_no_score_or_no_run_is_refused_in_one_sentence(finish, capsys, words, said):
    spec = finish(seeds=(0,))
    capsys.readouterr()
    assert run(["lb", *(spec if word == "SPEC" else word for word in words)]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not public_scores_path().exists()


@pytest.mark.parametrize("line", ["{", "[]", '{"schema": 1}', '{"public": NaN}'])
def test_a_damaged_line_is_named(finish, capsys, line):
    spec = finish(seeds=(0,))
    assert run(["lb", spec, "--public", "0.8"]) == 0
    path = public_scores_path()
    before = path.read_text() + line + "\n"
    path.write_text(before)
    for words in (["lb", spec, "--public", "0.7"], ["leaderboard"]):
        assert run(words) == 2
        error = capsys.readouterr().err
        assert f"{path} line 2" in error
        assert "fix or delete" in error
    assert path.read_text() == before


def test_a_blend_has_its_own_score_and_a_damaged_run_is_refused(finish, capsys):
    spec = finish()
    other = finish(spec + ",lr=0.01", skill=0.5)
    assert run(["blend", spec, other, "--name", "pair", "--trials", "3"]) == 0
    assert run(["lb", "pair", "--public", "0.9"]) == 0
    assert (row_of("pair").public, row_of(spec).public) == (0.9, None)
    folder = fit_folder(other, 0, 0)
    (folder / "run.json").write_text("{")
    assert run(["lb", other, "--public", "0.9"]) == 2
    assert str(folder) in capsys.readouterr().err


@given(st.lists(st.tuples(VALUES, VALUES), min_size=3, max_size=12))
def test_correlations_are_those_of_scipy(pairs):
    found = correlate(pairs)
    assert found.n == len(pairs)
    first, second = np.array(pairs).T
    if len(set(first)) == 1 or len(set(second)) == 1:
        assert found.pearson is None
        assert found.spearman is None
        return
    assert math.isclose(found.pearson, stats.pearsonr(first, second).statistic, abs_tol=1e-9)
    assert math.isclose(found.spearman, stats.spearmanr(first, second).statistic, abs_tol=1e-9)


def test_fewer_than_three_give_no_correlation():
    assert correlate([(0.1, 0.2), (0.3, 0.4)]) == Correlation(2)
    row = Row("exp001", "run", "", lb_correlation={"public": correlate([(0.1, 0.2)])})
    assert "fewer than 3 give no correlation" in agreement_text([row], "public")


def test_only_ranked_rows_count_for_the_correlation(finish, capsys):
    spec = finish()
    quick = finish(spec.replace("exp004", "exp004@quick"), seeds=(0,), folds=(0,), skill=0.2)
    for name in (spec, quick):
        assert run(["lb", name, "--public", "0.8"]) == 0
    capsys.readouterr()
    assert run(["leaderboard", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    counts = {row["name"]: row["lb_correlation"]["public"]["n"] for row in rows}
    assert counts[spec] == 1
    assert counts[quick] == (1 if rows[0]["data_hash"] == rows[1]["data_hash"] else 0)
