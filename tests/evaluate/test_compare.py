"""The paired verdict: who is better, by how much, how surely, on whom; and what does not compare."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from heldout.cli import run
from heldout.errors import UserError
from heldout.evaluate.collect import collect
from heldout.evaluate.compare import Verdict, compare_rows
from heldout.train.runs import fit_folder

VALUES = {
    **{"better": "exp042", "other": "exp040", "metric": "dice_pos", "higher_is_better": True, "difference": 0.012},
    **{"low": 0.001, "high": 0.024, "probability_better": 0.98, "distinct": True, "cases": 600, "patients": 512},
    "only_shared": False,
}


def test_the_verdict_is_one_sentence():
    said = "exp042 beats exp040 by 0.0120 dice_pos [0.0010, 0.0240] on 512 patients (probability better 0.98)"
    assert Verdict(**VALUES).sentence == said
    unsure = Verdict(**{**VALUES, "low": -0.001, "distinct": False}).sentence
    assert unsure.startswith("exp042 and exp040 cannot be told apart: exp042 is ahead by 0.0120 dice_pos [-0.0010,")
    assert "(lower is better)" in Verdict(**{**VALUES, "higher_is_better": False}).sentence


def test_the_better_one_is_named_first_whatever_the_order(finish, capsys):
    good = finish(skill=3.0)
    bad = finish(good + ",lr=0.01", skill=0.1)
    one, two = compare_rows(good, bad), compare_rows(bad, good)
    assert (one.better, one.other) == (two.better, two.other) == (good, bad)
    assert one.distinct
    assert one.low > 0
    assert one.difference == pytest.approx(two.difference)
    assert one.probability_better == pytest.approx(two.probability_better)
    scores = {row.name: row.score for row in collect()}
    assert one.difference == pytest.approx(scores[good] - scores[bad])
    assert run(["leaderboard", "--compare", bad, good]) == 0
    assert capsys.readouterr().out.startswith(f"{good} beats {bad} by")
    assert run(["leaderboard", "--compare", bad, good, "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["better"] == good
    assert values["sentence"].startswith(f"{good} beats")


def test_a_comparison_is_no_table(capsys):
    assert run(["leaderboard", "--compare", "exp001", "exp002", "--format", "csv"]) == 2
    assert "--compare gives a sentence, not a table: leave out --format csv" in capsys.readouterr().err


def test_twins_cannot_be_told_apart(finish):
    spec = finish(seeds=(0,))
    verdict = compare_rows(spec, finish(spec + ",lr=0.01", seeds=(0,)))
    assert not verdict.distinct
    assert "cannot be told apart" in verdict.sentence


def test_unequal_numbers_of_seeds_are_noted(finish):
    several = finish(seeds=(0, 1))
    single = finish(f"{several},lr=0.01", seeds=(0,))
    (note,) = compare_rows(several, single).notes
    assert f"2 of {several} and 1 of {single}" in note
    assert compare_rows(f"{several}/seed0", single).notes == ()


def test_lower_is_better_where_the_metric_says_so(finish):
    good = finish(
        "exp004+dataset=tiny,metric=log_loss,source_options={'patients':70,'images_per_patient':1,'size':32}",
        (0,),
        skill=3.0,
    )
    bad = finish(good + ",lr=0.01", (0,), skill=0.1)
    verdict = compare_rows(bad, good)
    assert verdict.better == good
    assert verdict.difference > 0
    assert verdict.low > 0


def test_only_shared_cases_count_and_the_verdict_says_so(finish):
    spec = finish(seeds=(0,))
    other = finish(spec + ",lr=0.01", seeds=(0,), folds=(0,), skill=3.0)
    verdict = compare_rows(spec, other)
    assert verdict.cases < next(row.cases for row in collect() if row.name == spec)
    assert "the cases both predicted" in verdict.sentence


def test_a_blend_is_compared_by_its_cross_fitted_table(finish):
    spec = finish()
    other = finish(spec + ",lr=0.01", skill=0.2)
    assert run(["blend", spec, other, "--name", "pair", "--trials", "3"]) == 0
    verdict = compare_rows("pair", other)
    scores = {row.name: row.score for row in collect()}
    assert verdict.better == "pair"
    assert verdict.difference == pytest.approx(scores["pair"] - scores[other])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("dataset=tiny2", "one uses tiny, the other tiny2"),
        ("test_fraction=0.3", "they use different cases or parts of tiny"),
        ("fold_count=3", "their fold tables differ"),
        ("metric=accuracy", "one is scored by roc_auc, the other by accuracy"),
    ],
)
def test_what_does_not_compare_is_refused(finish, change, said):
    spec = finish(seeds=(0,), folds=(0, 1))
    field = change.partition("=")[0]
    plain = spec.replace("dataset=tiny", "") if field == "dataset" else spec
    other = finish(f"{plain},{change}".replace("+,", "+"), seeds=(0,))
    with pytest.raises(UserError, match=said):
        compare_rows(spec, other)


def test_names_that_do_not_exist_and_twins_of_oneself_are_refused(finish):
    spec = finish(seeds=(0,))
    with pytest.raises(UserError, match="with itself"):
        compare_rows(spec, spec)
    with pytest.raises(UserError, match="there is no blend 'nobody'"):
        compare_rows(spec, "nobody")
    with pytest.raises(UserError, match="no finished fold"):
        compare_rows(spec, spec + ",lr=0.02")


def test_too_few_patients_are_said_to_be_too_few(finish):
    few = "exp004+dataset=few,source_options={'patients':16,'images_per_patient':2,'size':32}"
    spec = finish(few, seeds=(0,))
    with pytest.raises(UserError, match=r"too few patients.*: it needs more patients with and without the class"):
        compare_rows(spec, finish(spec + ",lr=0.01", seeds=(0,)))


def test_folds_that_do_not_meet_are_refused(finish):
    spec = finish(seeds=(0,), folds=(0,))
    with pytest.raises(UserError, match="train the same folds of both"):
        compare_rows(spec, finish(spec + ",lr=0.01", seeds=(0,), folds=(1,)))


def test_an_edited_table_of_a_blend_is_refused(finish, home):
    spec = finish()
    other = finish(spec + ",lr=0.01")
    assert run(["blend", spec, other, "--name", "pair", "--trials", "3"]) == 0
    path = home / "working" / "blends" / "pair" / "oof.parquet"
    (fit_folder(spec, 0, 0) / "oof.parquet").replace(path)
    with pytest.raises(UserError, match=r"oof\.parquet was changed after blending"):
        compare_rows("pair", other)


def test_a_network_of_single_slices_and_one_of_neighboring_ones_compare(finish, home):
    random, folder = np.random.default_rng(0), home / "input" / "slices"
    folder.mkdir(parents=True)
    for number in range(48):
        path = folder / f"{('small', 'large')[number // 2 % 2]}_p{number // 2:02d}_{number % 2}.png"
        Image.fromarray(random.integers(0, 256, (8, 8), np.uint8)).save(path)
    read = "exp004+dataset=slices,source=folders,source_options={'image':'{class}_{patient}_{id}.png'"
    flat = finish(f"{read}}},channels=1", seeds=(0,), skill=0.2)
    deep = finish(f"{read},'neighbors':1}},channels=3", seeds=(0,), skill=3.0)
    assert compare_rows(flat, deep).better == deep
