"""Weights by class of masks: their arithmetic, their search on the other folds, and what is shipped with them."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heldout import files
from heldout.blend.apply import blend_case
from heldout.blend.crossfit import crossfit
from heldout.blend.decision import read_decision
from heldout.blend.distinct import distinct_voxels
from heldout.blend.freeze import freeze
from heldout.blend.histogram import join
from heldout.blend.label_objective import LabelObjective
from heldout.blend.mask_objective import MaskObjective
from heldout.blend.members import load_member
from heldout.blend.mixing import counting, narrow, rows_of, settings_of, widen
from heldout.blend.presence import presence_of_levels
from heldout.blend.records import Postprocess
from heldout.blend.search import blend
from heldout.blend.study import SearchPlan
from heldout.blend.trial import LabelTrial, PresenceTrial
from heldout.blend.values import blend_maps, to_thousandths
from heldout.blend.verify import open_decision
from heldout.cli import run
from heldout.config import load
from heldout.data.cases import open_dataset
from heldout.escape import markdown
from heldout.evaluate.thresholds import held_out_decision
from heldout.metrics import count_errors, score
from heldout.predict.prediction import mean_predictions, presence, to_mask
from heldout.serve.model import Case, Served
from heldout.train.fit import fit_fold


@st.composite
def exclusive_maps(draw):
    """Maps (cases, members, C, 6, 7) whose classes exclude each other, true labels and rows of weights."""
    members, cases, classes = draw(st.integers(1, 4)), draw(st.integers(1, 3)), draw(st.integers(2, 3))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shares = random.dirichlet(np.full(classes + 1, draw(st.sampled_from([0.1, 1.0]))), (cases, members, 6, 7))
    maps = np.rint(255 * np.moveaxis(shares, -1, 2))[:, :, 1:].astype(np.uint8)  # the sum may be above 255
    if draw(st.booleans()):
        maps[:, 1:] = np.where(random.random(maps[:, 1:].shape) < 0.7, maps[:, :1], maps[:, 1:])
    truth = random.integers(0, classes + 1, (cases, 6, 7)).astype(np.uint8)
    mass = np.full(members, draw(st.sampled_from([0.05, 1.0])))
    return maps, truth, [to_thousandths(random.dirichlet(mass)) for _ in range(classes + 1)]


@settings(max_examples=100, deadline=None)
@given(exclusive_maps())
def test_equal_rows_give_what_one_row_gives(case):
    maps, _, rows = case
    for one in maps:
        plain = blend_maps(one, rows[0])
        np.testing.assert_array_equal(blend_maps(one, [rows[0]] * one.shape[1]), plain)
        np.testing.assert_array_equal(blend_maps(one, [rows[0]] * (one.shape[1] + 1)), plain)


@settings(max_examples=100, deadline=None)
@given(exclusive_maps(), st.randoms(use_true_random=False))
def test_exchanged_classes_have_exchanged_blends(case, random):
    maps, _, rows = case
    order = random.sample(range(maps.shape[2]), maps.shape[2])
    for one in maps:
        for first in (rows[:1], []):  # with and without a background
            found = blend_maps(one[:, order], [*first, *(rows[1 + k] for k in order)])
            np.testing.assert_array_equal(found, blend_maps(one, [*first, *rows[1:]])[order])


@settings(max_examples=100, deadline=None)
@given(exclusive_maps())
def test_blends_of_exclusive_classes_are_probabilities(case):
    maps, _, rows = case
    for one in maps:
        every = np.concatenate([np.maximum(255.0 - one.sum(1, keepdims=True, dtype=float), 0), one], 1)
        sums = np.einsum("lm,mlyx->lyx", np.array(rows, float), every)
        whole, blended = sums.sum(0), blend_maps(one, rows)
        if len(set(rows)) == 1:
            whole = np.full_like(whole, 255_000.0)
        some = whole > 0
        expected = 255 * sums[1:, some] / whole[some]
        assert np.abs(blended[:, some] - expected).max(initial=0) <= 0.5 + 1e-9
        assert (blended[:, ~some] == 0).all(), "where no label has anything it is background"
        members_above = (one.sum(1, dtype=int) > 255).any(0)  # rounding lifted what a member says
        assert (blended.sum(0, dtype=int)[~members_above] <= 255 + len(blended) / 2).all()


@settings(max_examples=100, deadline=None)
@given(exclusive_maps())
def test_tables_and_trials_equal_brute_force(case):
    maps, truth, rows = case
    histogram = join([distinct_voxels(m, t) for m, t in zip(maps, truth, strict=True)])
    for weights in (rows, rows[0]):
        blended = [blend_maps(one, weights) for one in maps]
        masks = [to_mask(one, None, exclusive=True) for one in blended]
        expected = [count_errors(m, t[None], maps.shape[2], True) for m, t in zip(masks, truth, strict=True)]
        np.testing.assert_array_equal(histogram.counts_by_label(weights), expected)
        np.testing.assert_array_equal(LabelTrial(histogram, True).counts(weights), expected)
        present = [presence(one) for one in blended]
        np.testing.assert_array_equal(presence_of_levels(histogram.levels(weights)), present)
        np.testing.assert_array_equal(PresenceTrial(histogram, True).presence(weights), present)


def specialists(exclusive: bool, method: str, metric="dice_all") -> MaskObjective:
    """Two members, of which the first knows the first class and the second the second."""
    random, cases = np.random.default_rng(3), 24
    truth = random.integers(0, 3, (cases, 12, 12))
    known = np.moveaxis(np.eye(3)[truth], -1, 1)[:, 1:]
    maps = np.empty((cases, 2, 2, 12, 12))
    for member, own in ((0, 0), (1, 1)):
        maps[:, member, own] = np.clip(0.5 * known[:, own] + random.normal(0.2, 0.2, known[:, own].shape), 0, 0.9)
        maps[:, member, 1 - own] = random.uniform(0, 0.9, known[:, own].shape)
    if exclusive:
        maps /= np.maximum(maps.sum(2, keepdims=True), 1)
    maps = np.rint(255 * maps).astype(np.uint8)
    frame = pd.DataFrame({"case_id": [f"c{i}" for i in range(cases)], "fold": np.arange(cases) % 4})
    frame["patient_id"] = frame["case_id"]
    frame[["y_a", "y_b"]] = 1.0
    if exclusive:
        reduced = [[distinct_voxels(m, t.astype(np.uint8)) for m, t in zip(maps, truth, strict=True)]]
    else:
        pairs = [(maps[:, :, k : k + 1], (truth == k + 1).astype(np.uint8)) for k in range(2)]
        reduced = [[distinct_voxels(m, t) for m, t in zip(*pair, strict=True)] for pair in pairs]
    return MaskObjective(frame, ("a", "b"), metric, tuple(map(join, reduced)), method)


@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize("sampler", ["tpe", "greedy"])
def test_each_class_gets_the_member_that_knows_it_on_the_other_folds(exclusive, sampler):
    plan = SearchPlan(sampler, 25)
    plain, by_class = (crossfit(specialists(exclusive, method), plan) for method in ("mean", "classes"))
    assert by_class.scores.cross_fitted > plain.scores.cross_fitted + 0.02
    for one in (by_class.settings, *by_class.by_fold.values()):
        *_, first, second = one.rows
        assert len(one.rows) == 2 + exclusive
        assert first[0] > 600
        assert second[1] > 600
    for fold, one in by_class.by_fold.items():
        objective = specialists(exclusive, "classes")
        others = objective.select((objective.frame["fold"] != fold).to_numpy())
        assert others.tune(one.rows)[1] == one, "settings of a fold are those that the others give"


def test_a_search_by_class_that_gains_nothing_keeps_the_weights_of_all_classes():
    objective = specialists(False, "classes")
    same = [part.keep(np.ones(len(part.voxels), bool)) for part in objective.histograms[:1]] * 2
    alike = MaskObjective(objective.frame, ("a", "b"), "dice_all", tuple(same), "classes")
    found = crossfit(alike, SearchPlan("greedy", 1)).settings
    assert not found.mixing
    assert found.rows == (found.weights,)


def test_a_score_that_no_class_has_alone_is_searched_over_all():
    plain, by_class = (
        crossfit(specialists(False, one, "patient:dice_all"), SearchPlan("greedy", 1)) for one in ("mean", "classes")
    )
    assert by_class.scores.cross_fitted > plain.scores.cross_fitted + 0.02


def test_limits_of_members_hold_by_class():
    objective = specialists(True, "classes")
    noise = np.random.default_rng(0).integers(0, 90, objective.histograms[0].values.shape).astype(np.uint8)
    histogram = objective.histograms[0]
    more = type(histogram)(np.concatenate([noise[:1], histogram.values]), histogram.voxels, histogram.starts)
    found = crossfit(
        MaskObjective(objective.frame, ("a", "b"), "dice_all", (more,), "classes"),
        SearchPlan("greedy", 1, max_members=2),
    )
    assert {tuple(row[:1]) for one in (found.settings, *found.by_fold.values()) for row in one.rows} == {(0,)}
    assert len(found.settings.rows) == 3


def test_settings_of_some_members_are_widened_to_all():
    found = widen(settings_of([(200, 800), (1000, 0)], (5, 6)), [0, 2], 3)
    assert found.rows == ((200, 0, 800), (1000, 0, 0))
    assert (found.weights, found.thresholds) == ((600, 0, 400), (5, 6))
    assert rows_of((300, 700)) == [(300, 700)]


EXCLUSIVE = "+source_options={'patients':40,'images_per_patient':2,'size':32,'exclusive':True},dataset=exclusive"
BOTH = [("exp928", "exp929"), ("exp928" + EXCLUSIVE, "exp929" + EXCLUSIVE)]


@pytest.fixture(scope="module")
def trained_parts(known_experiments, tmp_path_factory):
    """A home with two finished folds of networks that know one class each."""
    folder = tmp_path_factory.mktemp("parts")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HELDOUT_HOME", str(folder))
        patch.delenv("HELDOUT_DATA", raising=False)
        for config in [load(spec) for specs in BOTH for spec in specs]:
            dataset = open_dataset(config)
            for fold in range(2):
                fit_fold(config, dataset, fold, 0, quiet=True)
    return folder


@pytest.fixture
def parts(trained_parts, tmp_path, monkeypatch):
    """A copy of that home."""
    shutil.copytree(trained_parts, tmp_path / "home")
    monkeypatch.setenv("HELDOUT_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("HELDOUT_DATA", raising=False)


def shipped_as_scored(specs, decision, table):
    members = [load_member(spec) for spec in specs]
    names = [f"{kind}_{name}" for name in decision.classes for kind in ("tp", "fp", "fn")]
    for row in table.iloc[::7].to_dict("records"):
        found = blend_case(decision, [member.prediction(row["case_id"]) for member in members])
        np.testing.assert_allclose(found.scores, [row[f"p_{name}"] for name in decision.classes], atol=1e-6)
        truth = members[0].dataset.truth(row["case_id"])
        counts = count_errors(found.mask, truth, len(decision.classes), decision.exclusive)
        assert counts.ravel().tolist() == [row[name] for name in names]


@pytest.mark.parametrize("specs", BOTH, ids=["multi-label", "exclusive"])
def test_a_blend_by_class_is_recorded_sealed_and_shipped_as_scored(parts, specs):
    plain = blend(specs, "alike", trials=15, progress=False)
    decision = blend(specs, "parts", method="classes", trials=15, progress=False)
    assert decision.score.cross_fitted > plain.score.cross_fitted
    stored = read_decision("parts")
    assert stored.mixing.method == "classes"
    assert len(stored.rows) == len(stored.classes) + stored.exclusive
    assert all(sum(row) == 1000 for row in stored.rows)
    assert decision.search.baselines["tuned, all classes alike"].in_sample == pytest.approx(plain.score.in_sample)
    shipped_as_scored(specs, stored, pd.read_parquet(decision.folder / "in_sample.parquet"))
    crossed = pd.read_parquet(decision.folder / "oof.parquet")
    for fold, rows in crossed.groupby("fold"):
        shipped_as_scored(specs, held_out_decision(stored, int(fold)), rows)
    assert score("dice_pos", crossed, decision.classes) == pytest.approx(decision.score.cross_fitted)

    freeze("parts")
    opened = open_decision("parts")
    new = opened.dataset.part("test")["case_id"].iloc[0]
    image = opened.dataset.read_image(new)
    (found,) = opened.predict([(new, image)], uncertainty=True)
    answers = [member.predict(new, image, opened.decision.exclusive) for member in opened.members]
    by_hand = blend_maps([mean_predictions(one).map for one in answers], stored.rows)
    np.testing.assert_array_equal(found.map, by_hand)
    assert np.isfinite(found.uncertainty.total).all()
    (served,) = Served("parts").predict([served_case(opened, new)])
    np.testing.assert_array_equal(served.map, by_hand)
    changed = replace(stored, mixing=stored.mixing.model_copy(update={"weights": stored.mixing.weights[::-1]}))
    assert changed.identity != stored.identity


def served_case(opened, case_id):
    served = Served("parts")
    row = opened.dataset.part("test").set_index("case_id").loc[case_id]
    case = Case(case_id, case_id, opened.dataset.read_image(case_id), None, row["image"], "")
    return served.prepare(case)


@pytest.mark.parametrize(
    ("specs", "options"),
    [(BOTH[0], {"spatial": True}), (BOTH[1], {"spatial": True}), (BOTH[1], {"presence_metric": "roc_auc"})],
)
def test_later_steps_see_the_blend_by_class(parts, specs, options):
    decision = blend(specs, "parts", method="classes", trials=8, progress=False, **options)
    assert decision.mixing
    shipped_as_scored(specs, decision, pd.read_parquet(decision.folder / "in_sample.parquet"))


def test_the_command_says_which_class_has_which_weights(parts, capsys):
    assert run(["blend", *BOTH[1], "--name", "parts", "--method", "classes", "--trials", "8"]) == 0
    printed = capsys.readouterr().out
    for label in ("background", *read_decision("parts").classes):
        assert f"  {label}: " in printed
    assert ", --method classes" in read_decision("parts").composition
    assert run(["blend", *BOTH[0], "--name", "refused", "--method", "rank"]) == 2
    assert "use --method mean or --method classes" in capsys.readouterr().err


def test_a_label_blend_by_class_is_searched_like_a_mask_s():
    random = np.random.default_rng(0)
    truth = random.random((200, 2)) < 0.5
    sure, guess = truth + random.normal(0, 0.3, truth.shape), random.random(truth.shape)
    scores = np.stack([np.stack([sure[:, 0], guess[:, 1]], 1), np.stack([guess[:, 0], sure[:, 1]], 1)]).clip(0, 1)
    frame = pd.DataFrame({"case_id": [f"c{i}" for i in range(200)], "fold": np.arange(200) % 4})
    frame = frame.assign(patient_id=frame["case_id"], **{"y_a": truth[:, 0] * 1.0, "y_b": truth[:, 1] * 1.0})
    found = crossfit(LabelObjective(frame, ("a", "b"), "log_loss", scores, False, "classes"), SearchPlan("tpe", 20))
    first, second = found.settings.rows
    assert first[0] > 600
    assert second[1] > 600


def test_a_member_that_no_class_uses_is_not_shipped(parts):
    specs = (*BOTH[0], f"{BOTH[0][0]}/tta=h")
    decision = blend(specs, "two", method="classes", trials=8, max_members=2, progress=False)
    freeze("two")
    opened = open_decision("two")
    (idle,) = opened.decision.search.dropped
    assert [member.name for member in opened.decision.members] == [s for s in specs if s != idle.member.name]
    kept = [place for place in range(3) if place != idle.place]
    assert opened.decision.rows == tuple(tuple(row[place] for place in kept) for row in decision.rows)
    new = opened.dataset.part("test")["case_id"].iloc[0]
    image = opened.dataset.read_image(new)
    (found,) = opened.predict([(new, image)])
    maps = [mean_predictions(member.predict(new, image, False)).map for member in opened.members]
    everyone = [maps[kept.index(place)] if place in kept else 0 * maps[0] for place in range(3)]
    np.testing.assert_array_equal(found.map, blend_maps(everyone, decision.rows))


def test_the_first_member_stays_for_the_sake_of_its_hook(parts):
    decision = blend(BOTH[0], "first", trials=2, progress=False)
    members = [one.with_weight(weight) for one, weight in zip(decision.members, (0.0, 1.0), strict=True)]
    decision = replace(decision, members=members)
    assert [one.name for one in decision.without_idle().members] == [BOTH[0][1]]
    hooked = replace(decision, postprocess=Postprocess(settings={"least": 3}, code="0" * 64))
    assert hooked.without_idle() == hooked


@pytest.mark.parametrize("exclusive", [False, True])
def test_what_is_fitted_to_all_members_is_narrowed_to_those_that_count(exclusive):
    rows = [(0, 400, 600)] * exclusive + [(200, 0, 800), (0, 0, 1000)]
    some = settings_of(rows, (5, 6))
    wide = widen(some, [0, 2, 3], 4)
    assert counting(wide.mixing, wide.weights) == [0, 2, 3] if exclusive else [0, 3]
    assert narrow(wide.mixing, [0, 2, 3]) == some.mixing


def test_reports_and_cards_say_which_class_has_which_weights(parts):
    decision = blend(BOTH[1], "parts", method="classes", trials=8, progress=False)
    assert run(["report", "parts"]) == 0
    assert run(["card", "parts"]) == 0
    report = (files.home() / "working" / "reports" / "parts" / "report.md").read_text(encoding="utf-8")
    card = (decision.folder / "model_card.md").read_text(encoding="utf-8")
    assert "Weights of the members by class" in report
    for label, row in zip(("background", *decision.classes), decision.rows, strict=True):
        shown = [f"{value / 1000:.3f}" for value in row]
        assert f"| {label} | {' | '.join(shown)} |" in report
        both = " + ".join(f"{value} {member.name}" for value, member in zip(shown, decision.members, strict=True))
        assert f"**weights for {label}**: " in card
        assert markdown(both) in card
