"""Held-out predictions scored by the protocols that a project describes."""

from __future__ import annotations

import pytest

from heldout.errors import UserError
from heldout.report.protocols import ScoreLine, lines_of, protocols, table_of


def test_the_table_has_a_column_for_each_metric():
    columns, cells = table_of(protocols()["adrenal"], [ScoreLine("they", {"roc_auc": 0.5}, "9 cases", "all")])
    assert columns == ["who", "roc_auc", "accuracy"]
    assert cells == [["they", "0.5000", "-"]]


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
