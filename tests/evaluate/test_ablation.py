"""Ablation tables: a child beside its parent under one budget, both cut alike, seeds and flips without training."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest

from heldout import files
from heldout.blend.decision import read_decision, save_decision
from heldout.blend.members import load_member
from heldout.cli import run
from heldout.config import load
from heldout.data.cases import open_dataset
from heldout.escape import markdown
from heldout.evaluate.ablation import Measure, ablations
from heldout.evaluate.collect import collect
from heldout.evaluate.compare import compare_held_out, compare_rows
from heldout.evaluate.held_out import open_held_out
from heldout.evaluate.thresholds import thresholds_path
from heldout.metrics import score
from heldout.report.results import FEW, gain_text
from heldout.train.runs import fit_folder


def entries():
    return {entry.name: entry for family in ablations(collect()).values() for entry in family}


def test_a_child_stands_beside_its_parent_with_the_paired_difference(home, masks):
    parent, child, _ = masks
    # a run with overrides is a child of the plain experiment, which is not trained here
    missing = entries()[child]
    assert missing.parent == "exp001"
    assert missing.main.gain is None
    assert "no finished run of exp001" in missing.main.why
    assert "lr = 0.01" in missing.changed
    assert run(["results"]) == 0
    text = (home / "RESULTS.md").read_text()
    assert "| experiment | change of the parent | score |" in text
    assert "no finished run of exp001" in text
    assert f"| {markdown(parent)} |" in text


def test_both_sides_are_cross_fitted_and_the_difference_at_one_half_stands_beside(home, masks):
    parent, child, _ = masks
    rows = {row.name: row for row in collect()}
    one, other = (replace(rows[child], parent=parent), rows[parent])
    entry = next(entry for entry in ablations([one, other])["exp001"] if entry.name == child)
    assert entry.threshold == "cross-fitted"
    assert entry.main.score == pytest.approx(rows[child].score)
    assert entry.main.gain == pytest.approx(compare_rows(child, parent).gain_of(child)[0])
    record = json.loads(thresholds_path(child).read_text())
    assert record["score"] == pytest.approx(entry.main.score)
    halves = [open_held_out(name) for name in (child, parent)]
    verdict = compare_held_out(*halves, at_half=True)
    assert entry.at_half.gain == pytest.approx(verdict.gain_of(child)[0])
    assert abs(entry.main.gain) < entry.at_half.gain  # what is faint is found at a lower threshold


def test_bold_is_what_holds_however_masks_are_cut_and_on_patients_enough():
    clear = Measure(0.5, 0.4, 0.6, -0.1, -0.15, -0.05, FEW)
    doubtful, opposite = replace(clear, gain_high=0.01), replace(clear, gain=0.1, gain_low=0.05, gain_high=0.15)
    assert gain_text(clear).startswith("**-0.1000**")
    assert gain_text(clear, clear).startswith("**-0.1000**")
    for main, half in [
        (doubtful, None),
        (clear, doubtful),
        (clear, opposite),
        (replace(clear, patients=FEW - 1), None),
    ]:
        assert "**" not in gain_text(main, half)


def test_tuning_is_that_of_a_blend_of_one(masks):
    parent = masks[0]
    assert run(["ablate", parent]) == 0
    assert run(["blend", parent, "--name", "alone", "--sampler", "equal"]) == 0
    decision = json.loads((files.home() / "working" / "blends" / "alone" / "decision.json").read_text())
    assert json.loads(thresholds_path(parent).read_text())["score"] == pytest.approx(decision["score"]["cross_fitted"])


def test_thresholds_are_kept_for_those_predictions_only(masks, capsys):
    parent = masks[0]
    assert run(["ablate", parent]) == 0
    said = capsys.readouterr().out
    assert "cross-fitted, fold 0 at" in said
    assert "(as found before)" not in said
    assert run(["ablate", parent]) == 0
    assert "(as found before)" in capsys.readouterr().out
    path = thresholds_path(parent)
    stored = json.loads(path.read_text())
    files.write_json(path, {**stored, "key": "of other predictions"})
    assert run(["ablate", parent]) == 0
    assert "(as found before)" not in capsys.readouterr().out
    assert json.loads(path.read_text()) == stored


def test_seeds_and_flips_are_rows_without_training(masks):
    parent = masks[0]
    shutil.copytree(fit_folder(parent, 0, 0), fit_folder(parent, 0, 0) / "tta-h", ignore=lambda *_: ["tta-h"])
    shutil.copytree(fit_folder(parent, 0, 1), fit_folder(parent, 0, 1) / "tta-h", ignore=lambda *_: ["tta-h"])
    for fold in (0, 1):
        record = json.loads((fit_folder(parent, 0, fold) / "run.json").read_text())
        target = fit_folder(parent, 0, fold) / "tta-h" / "predictions.json"
        files.write_json(target, {"schema": 1, "tta": "h", "sha256": record["sha256"]})
    row = entries()[f"{parent}: tta h"]
    assert row.parent == parent
    assert row.seconds is None
    assert row.main.gain == 0  # the same predictions
    assert row.changed == "flips h instead of none when predicting"


def test_a_seed_stands_beside_the_mean_of_all(finish):
    spec = finish(seeds=(0, 1))
    row = entries()[f"{spec}: mean of its seeds"]
    one = load_member(f"{spec}/seed0").table
    both = load_member(spec).table
    classes = open_dataset(load(spec)).classes
    assert row.main.gain == pytest.approx(score("roc_auc", both, classes) - score("roc_auc", one, classes))
    assert row.threshold == "no threshold"


def test_a_mean_of_seeds_is_no_advantage_of_an_idea(finish):
    first = finish(seeds=(0, 1))
    names = first, finish(f"{first},lr=0.01", seeds=(0,), skill=2), finish(f"{first},lr=0.02", seeds=(1,))
    rows = {row.name: row for row in collect()}
    parent, child, other = (rows[name] for name in names)

    def beside(one, two):
        found = {entry.name: entry for entry in ablations([replace(one, parent=two.name), two])["exp004"]}
        return found[one.name]

    entry = beside(child, parent)
    alone = load_member(f"{parent.name}/seed0").table
    assert entry.main.score == pytest.approx(child.score)
    assert entry.main.gain == pytest.approx(
        child.score - score(parent.metric, alone, open_dataset(load(first)).classes)
    )
    assert entry.changed.endswith("(seed 0 of both)")
    assert beside(parent, other).changed.endswith("(seed 1 of both)")
    assert beside(child, other).main.gain is None
    assert "other seeds" in beside(child, other).main.why


def test_a_damaged_run_becomes_a_line_with_the_reason(home, finish, capsys):
    spec = finish(seeds=(0,))
    assert entries()[spec].main.why == "no finished run of exp004 here"
    (fit_folder(spec, 0, 0) / "oof.parquet").unlink()
    assert "does not exist" in entries()[spec].main.why
    assert run(["results"]) == 0
    assert f"note: no score of {spec}: " in capsys.readouterr().out
    (fit_folder(spec, 0, 0) / "run.json").write_text("[]")
    assert run(["results"]) == 0
    said = capsys.readouterr().out
    assert f"note: no score of {spec}: " in said
    assert "run.json" in said
    assert "| - | - | - |" in (home / "RESULTS.md").read_text()  # neither a score nor a time


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["exp001"], "exp001 has no finished fold"),
        (["exp001", "--tta", "q"], "--tta 'q' names no axes"),
        ([], "holds no finished run"),
    ],
)
def test_mistakes_are_one_sentence(home, indexed, monkeypatch, capsys, words, said):
    monkeypatch.delenv("HELDOUT_DATA", raising=False)
    assert run(["ablate", *words]) == 2
    error = capsys.readouterr().err.splitlines()
    assert said in error[-1]


def test_a_blend_stands_last_beside_its_best_member(home, masks):
    parent, child, _ = masks
    assert run(["blend", parent, child, "--name", "both", "--sampler", "equal"]) == 0
    blend = entries()["both"]
    alone = {name: json.loads(thresholds_path(name).read_text())["score"] for name in (parent, child)}
    assert blend.parent == max(alone, key=alone.get)
    assert blend.main.gain == pytest.approx(blend.main.score - max(alone.values()))
    assert run(["results"]) == 0
    line = markdown(f"{blend.parent} with others blended in: 0.50 {parent}")
    assert f"| both | {line}" in (home / "RESULTS.md").read_text()


def test_a_blend_has_one_interval_also_where_its_decision_has_one_of_an_earlier_method(home, masks):
    assert run(["blend", *masks[:2], "--name", "both", "--sampler", "equal"]) == 0
    decision = read_decision("both")
    save_decision(replace(decision, score=decision.score.model_copy(update={"low": 0.01, "high": 0.99})))
    row = next(row for row in collect() if row.name == "both")
    assert 0.5 < row.low < row.score < row.high
    assert row.high != 0.99
    shown = entries()["both"].main
    assert (row.score, row.low, row.high) == pytest.approx((shown.score, shown.low, shown.high))


def test_a_damaged_memory_of_earlier_calls_is_made_anew(home, masks):
    first = entries()
    (home / "working" / "cache" / "ablations.json").write_text('{"schema": 3}')
    assert entries() == first
