"""One-fold and partial runs: what cannot be known is said in words, and what is missing is noted."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from heldout.blend.decision import load_decision
from heldout.blend.ledger import refuse_undefined
from heldout.blend.session import Session
from heldout.cli import run
from heldout.cli.decisions import _interval
from heldout.cli.shared import note_missing
from heldout.errors import UserError, note
from heldout.evaluate.collect import _explain_pooled, collect
from heldout.evaluate.row import Row


def test_a_blend_of_one_fold_says_that_it_is_not_ranked(finish, capsys):
    one = finish(seeds=(0,), folds=(0,))
    other = finish(one + ",lr=0.01", seeds=(0,), folds=(0,))
    assert run(["blend", one, other, "--name", "pair", "--trials", "2"]) == 0
    said = capsys.readouterr().out
    assert "undefined" not in said
    assert "this one ranks" not in said
    assert "cross-fitted is not known, as fold 0 alone is finished: this blend is not ranked" in said
    assert "finish two folds or more of every member" in said


def test_what_a_decision_goes_without_is_noted_before_it_is_used(finish, capsys):
    spec = finish(seeds=(0,), folds=(0,))
    note.cache_clear()
    capsys.readouterr()
    note_missing(load_decision(spec), Session())
    said = capsys.readouterr().err
    assert "without fold 1 of every seed" in said
    assert f"train {spec}" in said


def test_a_whole_run_is_used_without_a_note(finish, capsys):
    spec = finish()
    note.cache_clear()
    capsys.readouterr()
    note_missing(load_decision(spec), Session())
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ((0.5, 0.4, 0.6), "0.5000 [0.4000, 0.6000]"),
        ((0.5, float("nan"), float("nan")), "0.5000 (too few patients for an interval)"),
        ((0.5, None, None), "0.5000 (too few patients for an interval)"),
        ((float("nan"), None, None), "undefined (it needs cases with and without the class)"),
    ],
)
def test_scores_without_an_interval_say_why(values, said):
    assert _interval(*values) == said


def test_a_score_outside_those_of_its_folds_is_explained():
    row = Row("a", "run", "A run", score=0.591, fold_scores={0: 0.76, 1: 0.62, 2: 0.71}, note="missing: fold 3")
    _explain_pooled(row)
    assert row.note.startswith("missing: fold 3; the score of all cases together, 0.5910, lies outside those of the")
    assert "(0.620 to 0.760)" in row.note
    assert "compare the folds, or blend again with `--calibrate auto`" in row.note
    inside = Row("a", "run", "A run", score=0.7, fold_scores={0: 0.76, 1: 0.62})
    _explain_pooled(inside)
    assert inside.note == ""


def test_rows_of_partial_blends_name_what_is_missing(finish):
    one, other = finish(seeds=(0,)), finish(finish(seeds=(0,)) + ",lr=0.01", seeds=(0,))
    assert run(["blend", one, other, "--name", "pair", "--trials", "2"]) == 0
    row = next(row for row in collect() if row.name == "pair")
    assert row.note.startswith("blended without fold 0, 1 of seed 1 of any member") or "seed 1" in row.note
    assert not row.complete


@pytest.mark.parametrize(
    ("metric", "counts", "refused"),
    [
        ("roc_auc", {"small": 0, "large": 4}, True),
        ("roc_auc", {"small": 1, "large": 4}, False),
        ("patient:average_precision", {"small": 4, "large": 4}, True),
        ("dice_pos", {"small": 0, "large": 0}, True),
        ("dice_pos", {"small": 0, "large": 1}, False),
        ("log_loss", {"small": 0, "large": 0}, False),
    ],
)
def test_an_evaluation_that_could_only_be_undefined_is_refused_before_it_is_spent(monkeypatch, metric, counts, refused):
    monkeypatch.setattr("heldout.data.records.read_leaks", lambda _: SimpleNamespace(class_counts={"test": counts}))
    decision = SimpleNamespace(classes=("small", "large"), metric=metric, dataset="bones")
    dataset = SimpleNamespace(folder=None, part=lambda _: range(4))
    if refused:
        with pytest.raises(UserError, match=f"so {metric} would be undefined .* set a larger test_fraction"):
            refuse_undefined(decision, dataset)
    else:
        refuse_undefined(decision, dataset)
