"""Rank averages, power means, stacking, weights per class: fitted on the tuning folds, shipped as they were scored."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata

from heldout.blend.crossfit import crossfit
from heldout.blend.decision import read_decision
from heldout.blend.freeze import freeze
from heldout.blend.label_objective import LabelObjective
from heldout.blend.members import load_member
from heldout.blend.mixing import METHODS, fit_ranks, fit_stack, mix, widen
from heldout.blend.records import Mixing
from heldout.blend.search import blend
from heldout.blend.study import SearchPlan
from heldout.blend.verify import open_decision
from heldout.blend.weights import baselines, search
from heldout.errors import UserError
from heldout.metrics import score
from tests.finished_runs import TINY


def members(seed=0, count=240, exclusive=False, classes=2) -> LabelObjective:
    """A good member on a scale of its own, and a poor one."""
    random = np.random.default_rng(seed)
    names = tuple("abcd"[:classes])
    truth = random.random((count, classes)) < 0.4
    if exclusive:
        truth = np.eye(classes, dtype=bool)[random.integers(0, classes, count)]
    good = 1 / (1 + np.exp(-(0.3 * (2 * truth - 1) + 0.15 * random.normal(size=truth.shape) - 2)))
    poor = 1 / (1 + np.exp(-(truth + 2.0 * random.normal(size=truth.shape))))
    scores = np.stack([good, poor])
    if exclusive:
        scores /= scores.sum(-1, keepdims=True)
    frame = pd.DataFrame({"case_id": [f"c{i}" for i in range(count)], "fold": np.arange(count) % 4})
    frame["patient_id"] = frame["case_id"]
    frame[[f"y_{name}" for name in names]] = truth.astype(float)
    return LabelObjective(frame, names, "roc_auc", scores, exclusive)


@given(st.integers(0, 10_000), st.integers(2, 4), st.booleans(), st.sampled_from(METHODS))
@settings(max_examples=40, deadline=None)
def test_every_method_gives_probabilities_and_one_case_the_same_as_many(seed, classes, exclusive, method):
    from dataclasses import replace

    objective = replace(members(seed, 60, exclusive, classes), method=method)
    found = objective.fitted() or objective.tune((300, 700))
    together = mix(objective.scores, found[1].weights, found[1].mixing, exclusive)
    assert (together >= 0).all()
    assert (together <= 1 + 1e-9).all()
    if exclusive and method != "mean":
        np.testing.assert_allclose(together.sum(1), 1)
    alone = mix(objective.scores[:, 7:8], found[1].weights, found[1].mixing, exclusive)
    np.testing.assert_allclose(alone[0], together[7])


@given(st.integers(0, 10_000), st.sampled_from((-1.0, 0.0, 0.5, 2.0, 4.0)))
@settings(max_examples=20, deadline=None)
def test_a_power_mean_lies_between_its_members_and_grows_with_the_power(seed, power):
    scores = np.random.default_rng(seed).uniform(0.01, 1, (3, 20, 2))
    low, high = (mix(scores, (200, 300, 500), Mixing(method="power", power=q), False) for q in (power, power + 1))
    assert (low <= high + 1e-12).all()
    assert (low >= scores.min(0) - 1e-12).all()
    assert (high <= scores.max(0) + 1e-12).all()


def test_ranks_are_those_of_the_tuning_cases():
    scores = np.random.default_rng(0).random((2, 500, 1)) ** 4
    ranked = mix(scores, (1000, 0), fit_ranks(scores), False)[:, 0]
    expected = (rankdata(scores[0, :, 0]) - 1) / 499
    np.testing.assert_allclose(ranked, expected, atol=0.01)
    tied = mix(np.full((1, 4, 1), 0.3), (1000,), fit_ranks(np.full((1, 50, 1), 0.3)), False)
    np.testing.assert_allclose(tied, 0.5)


def test_stacking_has_no_negative_weights_and_agrees_with_scikit_learn_without_the_bound():
    from sklearn.linear_model import LogisticRegression

    objective = members(count=2000, classes=1)
    truth = objective.frame[["y_a"]].to_numpy() > 0
    logits = np.log(objective.scores / (1 - objective.scores))[..., 0].T
    found = fit_stack(objective.scores, truth)
    free = LogisticRegression(C=1 / (2 * 1e-3 * len(truth)), tol=1e-8).fit(logits, truth[:, 0])
    np.testing.assert_allclose(found.weights[0], free.coef_[0], rtol=1e-2)
    flipped = np.stack([objective.scores[0], 1 - objective.scores[0]])
    assert fit_stack(flipped, truth).weights[0][1] == 0


@pytest.mark.parametrize("method", METHODS[1:])
def test_what_is_fitted_is_fitted_on_the_other_folds(method):
    from dataclasses import replace

    objective = replace(members(), method=method)
    found = crossfit(objective, SearchPlan("greedy", 1))
    for fold, one in found.by_fold.items():
        others = objective.select((objective.frame["fold"] != fold).to_numpy())
        if one.mixing:
            expected = others.fitted() or others.tune(one.weights)
            assert one == expected[1]
    assert found.scores.cross_fitted == pytest.approx(score("roc_auc", found.cross_fitted, objective.classes))


def test_ranks_help_members_of_different_scales():
    from dataclasses import replace

    plain = members()
    equal = SearchPlan("equal", 1)
    mean, ranks = (crossfit(one, equal).scores.cross_fitted for one in (plain, replace(plain, method="rank")))
    assert ranks > mean + 0.02


@pytest.mark.parametrize("method", METHODS[1:])
def test_a_blend_of_any_method_is_recorded_and_applied_as_scored(finish, method):
    specs = [finish(f"{TINY},lr={lr}", skill=skill) for lr, skill in ((0.1, 0.7), (0.2, 1.5))]
    decision = blend(specs, "mixed", trials=8, method=method, metric="log_loss", progress=False)
    table = pd.read_parquet(decision.folder / "in_sample.parquet").set_index("case_id")
    from heldout.blend.apply import blend_case

    opened = [load_member(spec) for spec in specs]
    for case_id in list(table.index)[:5]:
        result = blend_case(read_decision("mixed"), [member.prediction(case_id) for member in opened])
        np.testing.assert_allclose(result.scores, table.loc[case_id].filter(like="p_").to_numpy(float), atol=1e-6)


def test_a_stack_is_sealed_and_reproduced(runs):
    with pytest.raises(UserError, match="--method stack is for classifications, and exp911 is a segmentation"):
        blend(["exp911", "exp912"], "masks", method="stack", progress=False)
    with pytest.raises(UserError, match="--method vote does not exist: choose one of mean, rank"):
        blend(["exp914"], "labels", method="vote", progress=False)
    decision = blend(["exp914", "exp914/tta=h"], "stacked", method="stack", progress=False)
    freeze("stacked")
    opened = open_decision("stacked")
    assert opened.decision.mixing == decision.mixing


def test_limits_hold_in_every_fold_and_cost_little():
    from dataclasses import replace

    objective = members(count=160)
    noise = np.clip(objective.scores[0] + np.random.default_rng(1).normal(0, 0.02, (3, 160, 2)), 0, 1)
    objective = replace(objective, scores=np.concatenate([objective.scores, noise]))
    free = crossfit(objective, SearchPlan("tpe", 15))
    found = crossfit(objective, SearchPlan("tpe", 15, max_members=2))
    for one in (found.settings, *found.by_fold.values()):
        assert sum(weight > 0 for weight in one.weights) <= 2
        assert sum(one.weights) == 1000
    assert found.scores.cross_fitted > free.scores.cross_fitted - 0.05
    slow = SearchPlan("greedy", 1, max_seconds=1.0, seconds=(9.0, 0.5, 9.0, 9.0, 0.4))
    for one in crossfit(objective, slow).by_fold.values():
        assert sum(one.weights[i] for i in (0, 2, 3)) == 0
    with pytest.raises(UserError, match=r"no member predicts a case within 0.1 seconds, the fastest takes 0.4"):
        crossfit(objective, replace(slow, max_seconds=0.1))


@pytest.mark.parametrize("seed", [0, 3])
def test_members_within_limits_are_no_worse_than_any_of_them_alone(seed):
    random, plain = np.random.default_rng(seed), members(count=120)
    few = replace(plain, scores=np.clip(plain.scores + random.normal(0, 0.4, plain.scores.shape), 0, 1))
    every = replace(plain, scores=np.concatenate([few.scores, few.scores.mean(0, keepdims=True)]))
    alone = [value for name, (value, _) in baselines(every).items() if name.startswith("member")]
    value, found = search(every, SearchPlan("tpe", 12, max_members=1))
    assert value >= max(alone)
    assert sum(weight > 0 for weight in found.weights) == 1


@pytest.mark.parametrize("method", METHODS)
def test_what_is_fitted_to_some_members_is_theirs_among_all(method):
    kept = replace(members(), method=method)
    noise = np.random.default_rng(1).random((1, *kept.scores.shape[1:]))
    every = replace(kept, scores=np.concatenate([kept.scores[:1], noise, kept.scores[1:]]))
    weights = [(400, 600), (900, 100)] if method == "classes" else (400, 600)
    _, settings = kept.fitted() or kept.tune(weights)
    pd.testing.assert_frame_equal(every.table(widen(settings, [0, 2], 3)), kept.table(settings))


def test_limits_of_masks_are_recorded(runs):
    decision = blend(["exp911", "exp912"], "one", trials=6, max_members=1, progress=False)
    assert sorted(member.weight for member in decision.members) == [0, 1]
    assert read_decision("one").search.max_members == 1
    fast = blend(["exp911", "exp912"], "fast", trials=6, max_seconds=60.0, progress=False)
    assert len(fast.search.seconds) == 2
    assert all(second > 0 for second in fast.search.seconds)


def test_the_method_is_part_of_what_identifies_a_decision(finish):
    first, second = finish(seeds=(0,)), finish(f"{TINY},lr=0.01", seeds=(0,))
    found = blend([first, second], "pair", sampler="equal", progress=False)
    other = replace(found, mixing=Mixing(method="rank"))
    assert found.identity != other.identity
