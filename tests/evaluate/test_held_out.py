"""Held-out predictions, opened once: what they are ranked by, and cases as they were predicted while held out."""

from __future__ import annotations

import pytest

from heldout.cli import run
from heldout.config import load
from heldout.data.cases import open_dataset
from heldout.evaluate.collect import collect, open_row
from heldout.evaluate.held_out import open_held_out
from heldout.evaluate.thresholds import held_out_decision
from heldout.metrics import score


def test_a_blend_is_shown_with_the_settings_that_scored_it(home, masks):
    parent, child, _ = masks
    assert run(["blend", parent, child, "--name", "pair", "--trials", "3", "--sampler", "equal"]) == 0
    blend = open_held_out("pair")
    settings = blend.decision.search.by_fold
    for fold in (0, 1):
        assert list(held_out_decision(blend.decision, fold).levels) == list(settings[str(fold)].thresholds)
    rows = blend.table.set_index("case_id")
    for case in rows.index[::9]:
        mask, name = blend.prediction(case).mask, blend.classes[0]
        assert int(rows.loc[case, f"tp_{name}"] + rows.loc[case, f"fp_{name}"]) == int((mask[0] == 1).sum())


def test_a_run_is_ranked_at_cross_fitted_thresholds_and_its_score_at_one_half_is_told(masks):
    spec = masks[0]
    row = next(row for row in collect() if row.name == spec)
    assert run(["blend", spec, "--name", "alone", "--sampler", "equal"]) == 0
    blend = next(row for row in collect() if row.name == "alone")
    assert row.threshold == blend.threshold == "cross-fitted"
    assert (row.score, row.low, row.high) == pytest.approx((blend.score, blend.low, blend.high))
    assert row.fold_scores == pytest.approx(blend.fold_scores)
    assert row.also == pytest.approx(blend.also)
    run_ = open_held_out(spec)
    assert row.at_half == pytest.approx(score(row.metric, run_.at_half_table, run_.classes))
    assert row.at_half < row.score  # what is faint is found at a lower threshold
    assert blend.at_half is None


def test_thresholds_of_a_fold_are_tuned_without_it(masks):
    spec = masks[0]
    before = open_held_out(spec).thresholds
    classes = open_dataset(load(spec)).classes
    assert set(before.thresholds) == {"0", "1"}
    assert all(len(values) == len(classes) for values in before.thresholds.values())
    assert before == open_held_out(spec).stored_thresholds


def test_without_thresholds_there_is_no_score_at_one_half(finish):
    spec = finish(seeds=(0,))
    (row,) = collect()
    assert (row.name, row.threshold, row.at_half) == (spec, "no threshold", None)


def test_a_second_call_reads_small_files_only(masks, monkeypatch):
    first = [row.to_dict() for row in collect()]
    monkeypatch.setattr("heldout.evaluate.held_out.open_held_out", None)
    monkeypatch.setattr("heldout.evaluate.held_out.HeldOut.of_blend", None)
    assert [row.to_dict() for row in collect()] == first


def test_where_thresholds_cannot_be_tuned_a_run_is_scored_at_one_half_with_a_note(home, masks):
    spec = masks[0]
    path = next((home / "working" / "runs" / spec / "seed0" / "fold0").rglob("*.b2nd"))
    path.unlink()
    row = next(row for row in collect() if row.name == spec)
    assert row.threshold == "at one half"
    assert row.score is not None
    assert row.at_half is None
    assert row.note.startswith("scored at one half, thresholds were not tuned: ")
    assert path.name in row.note or path.stem in row.note


def test_a_report_opens_a_run_with_its_row(masks):
    held = open_row(masks[0])
    assert held.row.name == held.name == masks[0]
    with pytest.raises(ValueError, match="without its row"):
        _ = open_held_out(masks[0]).row
