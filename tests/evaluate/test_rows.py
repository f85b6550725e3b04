"""What the leaderboard says of run folders: complete or not, spreads, damage, blends as they were blended."""

from __future__ import annotations

import json
import statistics

import pytest

from heldout.blend.members import load_member
from heldout.cli import run
from heldout.config import load
from heldout.data.cases import open_dataset
from heldout.errors import UserError
from heldout.escape import markdown
from heldout.evaluate.collect import collect, find_row, run_row
from heldout.evaluate.lineage import missing_text
from heldout.evaluate.row import Plan, ranked
from heldout.metrics import score
from heldout.predict.store import read_table
from heldout.train.runs import fit_folder


def by_name():
    return {row.name: row for row in collect()}


def test_a_run_is_complete_only_with_every_planned_seed_of_every_fold(finish):
    spec = finish(seeds=(0,))
    finish(seeds=(1,), folds=(0,))
    row = by_name()[spec]
    assert row.missing == [(1, 1)]
    assert not row.complete
    assert not ranked(row)
    assert row.score is not None
    assert row.note == "missing: fold 1 of seed 1"
    finish(seeds=(1,), folds=(1,))
    row = by_name()[spec]
    assert row.complete
    assert ranked(row)
    assert row.note == ""
    assert (row.done, row.planned) == (4, 4)


def test_seeds_added_to_an_experiment_later_are_missing_until_trained(finish):
    spec = finish()
    for seed in (0, 1):
        for fold in (0, 1):
            path = fit_folder(spec, seed, fold) / "config.json"
            stored = json.loads(path.read_text())
            stored["config"]["seeds"] = [0]
            path.write_text(json.dumps(stored))
    assert by_name()[spec].planned == 4  # as the experiment has it today


@pytest.mark.parametrize(
    ("plan", "missing", "text"),
    [
        (Plan(3, (0, 1, 2), (0,)), [(0, 1), (0, 2)], "folds 1, 2"),
        (Plan(3, (0, 1), (0, 1)), [(0, 2), (1, 2), (1, 0)], "fold 2 of every seed (not asked for); fold 0 of seed 1"),
        (Plan(2, (0, 1), (0, 1)), [], ""),
    ],
)
def test_what_is_missing_is_said_in_words(plan, missing, text):
    assert missing_text(plan, missing) == text


def test_seed_spread_and_fold_spread_stand_apart(finish):
    spec = finish()
    row = by_name()[spec]
    config = load(spec)
    classes = open_dataset(config).classes
    tables = {(s, f): read_table(fit_folder(spec, s, f), "oof") for s in (0, 1) for f in (0, 1)}
    import pandas as pd

    pooled = [score(config.metric, pd.concat([tables[s, 0], tables[s, 1]]), classes) for s in (0, 1)]
    averaged = load_member(spec).table
    folds = [score(config.metric, part, classes) for _, part in averaged.groupby("fold")]
    assert row.seed_spread == pytest.approx(statistics.stdev(pooled))
    assert row.fold_spread == pytest.approx(statistics.stdev(folds))
    assert list(row.fold_scores.values()) == pytest.approx(folds)
    assert list(row.seed_scores.values()) == pytest.approx(pooled)


def test_a_spread_is_absent_where_it_is_not_defined(finish):
    spec = finish(seeds=(0,))
    row = by_name()[spec]
    assert row.seed_spread is None
    assert row.fold_spread is not None
    finish(seeds=(1,), folds=(0,))  # the mean of two seeds beside a single one
    row = by_name()[spec]
    assert row.seed_spread is None
    assert row.fold_spread is None
    assert len(row.fold_scores) == 2


def test_only_what_has_a_finished_fold_is_offered_as_a_run(home, finish):
    spec = finish(seeds=(0,), folds=(0,))
    (home / "working" / "runs" / "exp0044" / "seed0" / "fold0").mkdir(parents=True)
    with pytest.raises(
        UserError, match="'exp0045' is neither a run with a finished fold nor a blend: there are"
    ) as caught:
        find_row("exp0045")
    assert str(caught.value).endswith(spec)


def test_an_experiment_without_a_finished_fold_is_to_be_trained(finish):
    spec = finish(seeds=(0,), folds=(0,))
    with pytest.raises(
        UserError, match=r"'exp003' is neither a run with a finished fold .* run `python run.py train exp003` first"
    ):
        find_row("exp003")
    with pytest.raises(UserError) as caught:
        find_row(spec.replace("(0,1)", "[0,1]"))
    assert str(caught.value).endswith(f"did you mean {spec}?")


@pytest.mark.parametrize(
    ("file", "text"), [("run.json", "{"), ("run.json", '{"schema": 1}'), ("run.json", "[]"), ("config.json", "")]
)
def test_a_damaged_run_becomes_a_row_and_hides_no_other(finish, capsys, file, text):
    good = finish(seeds=(0,))
    bad = fit_folder(finish(good + ",lr=0.01", seeds=(0,), folds=(0,)), 0, 0)
    (bad / file).write_text(text)
    rows = by_name()
    assert rows[good].score is not None
    damaged = rows[bad.parents[1].name]
    assert damaged.score is None
    assert str(bad) in damaged.note
    assert run_row(good).score == rows[good].score
    with pytest.raises(UserError, match=r"restore|delete"):
        run_row(damaged.name)
    for words in (["leaderboard"], ["leaderboard", "--json"], ["results"]):
        assert run(words) == 0, capsys.readouterr().err
    assert "Damaged run" in capsys.readouterr().out


def test_records_with_values_of_the_wrong_kind_become_a_row(finish):
    good = finish(seeds=(0,))
    bad = fit_folder(finish(good + ",lr=0.01", seeds=(0,), folds=(0,)), 0, 0)
    record = json.loads((bad / "run.json").read_text())
    (bad / "run.json").write_text(json.dumps({**record, "train_seconds": "long"}))
    assert "run.json has a missing or wrong train_seconds: delete" in by_name()[bad.parents[1].name].note


def test_a_blend_is_judged_by_what_was_blended_then(home, finish, capsys):
    spec = finish(seeds=(0,))
    other = finish(spec + ",lr=0.01", seeds=(0,), skill=0.5)
    assert run(["blend", spec, other, "--name", "pair", "--trials", "3"]) == 0
    row = by_name()["pair"]
    assert not row.complete
    assert row.note == "blended without folds 0, 1 of seed 1 of any member"
    finish(spec, seeds=(1,))
    finish(other, seeds=(1,), skill=0.5)
    assert not by_name()["pair"].complete  # its members are by now, it is not
    assert run(["blend", spec, other, "--name", "both", "--trials", "3"]) == 0
    row = by_name()["both"]
    assert ranked(row)
    assert row.optimism == pytest.approx(row.in_sample - row.score)
    assert sorted(row.fold_scores) == [0, 1]
    assert row.cases == by_name()[spec].cases
    capsys.readouterr()
    assert run(["leaderboard", "--json"]) == 0
    values = {value["name"]: value for value in json.loads(capsys.readouterr().out)}
    for key in ("fold_scores", "seed_spread", "fold_spread", "optimism", "dataset_test_evals", "missing", "baselines"):
        assert key in values["both"]
    assert {spec, other, "equal weights", "greedy", "tuned"} <= set(values["both"]["baselines"])
    assert run(["results"]) == 0
    text = (home / "RESULTS.md").read_text()
    for line in (f"| {markdown(spec)} |", "| both |", f"{row.metric} {row.score:.4f}"):
        assert line in text


def test_a_calibrated_error_needs_another_fold_to_be_fitted_on_and_has_an_interval(home, finish):
    spec = finish(seeds=(0,), folds=(0,))
    assert "ece_calibrated" not in by_name()[spec].also
    finish(spec, seeds=(0,), folds=(1,))
    row = by_name()[spec]
    for name in ("ece", "ece_calibrated"):
        low, high = row.also_bounds[name]
        assert 0 <= low <= row.also[name] <= high <= 1
    assert run(["results", "--force"]) == 0
    stored = json.loads((home / "exps" / "results" / f"{spec}.json").read_text())
    assert stored["also_bounds"]["ece_calibrated"] == row.also_bounds["ece_calibrated"]
