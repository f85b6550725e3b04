"""Held-out predictions scored by the protocols that a project describes."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from heldout.cli import run
from heldout.errors import UserError
from heldout.evaluate.ablation import family_of
from heldout.evaluate.collect import collect
from heldout.report.archive import ScoreLine
from heldout.report.baselines import Baseline, System
from heldout.report.protocols import ScoringProtocol, by_their_protocols, lines_of, protocols, table_of


def test_the_table_has_a_column_for_each_metric():
    columns, cells = table_of(
        protocols()["adrenal"], [ScoreLine(who="they", values={"roc_auc": 0.5}, cases="9 cases", differs="all")]
    )
    assert columns == ["who", "roc_auc", "accuracy"]
    assert cells == [["they", "0.5000", "-"]]


def test_bench_shows_theirs_and_ours_by_both_ways(finish, monkeypatch, capsys):
    spec = finish(skill=3.0)

    def score(held):
        return [
            ScoreLine(who="their way", values={"roc_auc": 0.25}, cases=f"{len(held.table)} cases", differs="everything")
        ]

    system = System("they", {"roc_auc": 0.9}, "all images", "at random", "a day", "none", "their page")
    monkeypatch.setattr(
        "heldout.report.protocols.protocols", lambda: {"mine": ScoringProtocol("T", ("roc_auc",), score)}
    )
    monkeypatch.setattr("heldout.report.protocols.baselines", lambda: [Baseline("T", [], [], ["roc_auc"], [system])])
    assert run(["bench", "mine", spec, "--json"]) == 0
    theirs, by_theirs, by_ours = json.loads(capsys.readouterr().out)
    assert (theirs["who"], theirs["values"]) == ("they", {"roc_auc": 0.9})
    assert (by_theirs["who"], by_theirs["values"]) == (f"{spec}, by their way", {"roc_auc": 0.25})
    assert by_ours["who"] == f"{spec}, by ours"
    assert 0.9 < by_ours["values"]["roc_auc"] <= 1
    assert run(["bench", "mine", spec, "--format", "csv"]) == 0
    assert capsys.readouterr().out.splitlines()[:2] == ["who,roc_auc", "they,0.9000"]
    assert run(["bench", "mine", spec]) == 0
    shown = capsys.readouterr().out
    assert "they: all images; at random; a day" in shown
    assert "cases; everything" in shown


def test_what_cannot_be_scored_by_their_protocol_is_left_out(finish, monkeypatch):
    spec = finish(skill=3.0)

    def score(held):
        if held.leaderboard_row is rows[1]:
            raise UserError("the dataset is not here")
        trained = ScoreLine(who="a", values={"roc_auc": 0.25, "accuracy": np.nan}, cases="all", differs="")
        return [trained, ScoreLine(who="b", values={}, cases="-", differs="not trained")]

    rows = [*collect(), replace(collect()[0], name=f"{spec}/seed0", kind="blend")]
    monkeypatch.setattr(
        "heldout.report.protocols.protocols", lambda: {"mine": ScoringProtocol("T", ("roc_auc",), score)}
    )
    entry = Baseline("T", [family_of(spec)], [], ["roc_auc"], [])
    monkeypatch.setattr("heldout.report.protocols.baselines", lambda: [entry])
    found = by_their_protocols(rows)
    assert {name: [(line.who, line.values) for line in lines] for name, lines in found.items()} == {
        spec: [("a", {"roc_auc": 0.25})]
    }


def test_unknown_protocols_and_runs_are_refused():
    with pytest.raises(UserError, match="no protocol 'bones': choose one of fracture, brain-mri, hippocampus, adrenal"):
        lines_of("bones", [], [])
    with pytest.raises(UserError, match="exp040 has no row on the leaderboard: train it"):
        lines_of("fracture", ["exp040"], [])
    with pytest.raises(UserError, match="no finished run for fracture: train one of exp040, exp049"):
        lines_of("fracture", [], [])


def test_a_project_without_protocols_is_told_where_they_belong(monkeypatch):
    monkeypatch.setattr("heldout.report.protocols.has_file", lambda _: False)
    with pytest.raises(UserError, match=r"describes no protocol of another system: write one in exps/protocols\.py"):
        lines_of("fracture", [], [])
