"""Tuning flatters itself in-sample and is told the truth by cross-fitting; the same seed decides the same."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from heldout.blend.crossfit import crossfit
from heldout.blend.label_objective import LabelObjective
from heldout.blend.study import SearchPlan, weights_of
from heldout.blend.weights import search
from heldout.metrics import score


def noise(members=10, cases=120, folds=4, seed=0, metric="roc_auc", signal=0.0):
    random = np.random.default_rng(seed)
    truth = random.random(cases) < 0.4
    frame = pd.DataFrame({"case_id": [f"case{i}" for i in range(cases)], "fold": np.arange(cases) % folds})
    frame["patient_id"] = frame["case_id"]
    frame["y_a"] = truth.astype(float)
    scores = np.clip(random.random((members, cases, 1)) * (1 - signal) + signal * truth[:, None], 0, 1)
    return LabelObjective(frame, ("a",), metric, scores, False)


def test_noise_looks_good_in_sample_and_reads_as_chance_when_cross_fitted():
    # Few repeats scatter; the mean of twenty is held to its bar by benchmarks/optimism.py.
    found = [crossfit(noise(cases=240, seed=seed), SearchPlan(trials=30, seed=seed)) for seed in range(5)]
    tuned = [one.baselines["tuned"] for one in found]
    assert np.mean([one.in_sample for one in tuned]) > 0.55
    assert np.mean([one.cross_fitted for one in tuned]) == pytest.approx(0.5, abs=0.05)
    assert np.mean([one.in_sample - one.cross_fitted for one in tuned]) > 0.04
    assert np.mean([one.scores.cross_fitted for one in found]) == pytest.approx(0.5, abs=0.05)


def test_the_same_seed_decides_the_same():
    objective = noise(members=4, signal=0.1)
    first, again = (crossfit(objective, SearchPlan(trials=20, seed=4)) for _ in range(2))
    assert first.settings == again.settings
    assert first.by_fold == again.by_fold
    assert first.scores == again.scores
    assert first.baselines == again.baselines


def test_what_is_simpler_is_reported_beside_the_tuned_weights():
    objective = noise(members=3, metric="f1", signal=0.2)
    found = crossfit(objective, SearchPlan(trials=15), names=["exp001", "exp002", "exp003"])
    assert list(found.baselines) == ["exp001", "exp002", "exp003", "equal weights", "greedy", "tuned"]
    tuned = found.baselines["tuned"]
    used = found.baselines["tuned" if found.note is None else "equal weights"]
    assert used.in_sample == pytest.approx(found.scores.in_sample)
    assert tuned.in_sample >= max(row.in_sample for row in found.baselines.values()) - 1e-12
    assert found.baselines["exp002"].weights == (0, 1000, 0)
    fold_of = objective.frame["fold"].to_numpy()
    parts = []
    for fold in range(4):
        _, settings = objective.select(fold_of != fold).tune((0, 1000, 0))
        parts.append(objective.select(fold_of == fold).table(settings))
    alone = score("f1", pd.concat(parts, ignore_index=True), ["a"])
    assert found.baselines["exp002"].cross_fitted == pytest.approx(alone)


def test_a_fold_is_scored_with_settings_that_never_saw_it():
    objective = noise(members=3, metric="f1")
    found = crossfit(objective, SearchPlan(trials=15, seed=0))
    assert sorted(found.by_fold) == [0, 1, 2, 3]
    fold_of = objective.frame["fold"].to_numpy()
    spoiled = objective.scores.copy()
    spoiled[:, fold_of == 2] = 0.99
    changed = crossfit(LabelObjective(objective.frame, ("a",), "f1", spoiled, False), SearchPlan(trials=15, seed=0))
    assert changed.by_fold[2] == found.by_fold[2]
    assert sorted(found.cross_fitted["case_id"]) == sorted(objective.frame["case_id"])
    assert found.scores.cross_fitted == pytest.approx(score("f1", found.cross_fitted, ["a"]))


def test_one_fold_cannot_be_cross_fitted():
    found = crossfit(noise(members=2, folds=1), SearchPlan(trials=5, seed=0))
    assert found.cross_fitted is None
    assert found.scores.cross_fitted is None
    assert found.scores.optimism is None
    assert found.scores.in_sample > 0


def test_a_single_member_has_its_thresholds_tuned_only():
    found = crossfit(noise(members=1, metric="f1", signal=0.3), SearchPlan(trials=50, seed=0))
    assert found.settings.weights == (1000,)
    assert found.scores.optimism >= 0


def test_the_search_is_never_worse_than_equal_weights_or_one_member():
    for metric in ("roc_auc", "log_loss"):
        objective = noise(members=4, cases=60, metric=metric, signal=0.2)
        value, settings = search(objective, SearchPlan(trials=5, seed=0))
        sign = -1 if metric == "log_loss" else 1
        for weights in [(250,) * 4, *(tuple(row) for row in 1000 * np.eye(4, dtype=int))]:
            assert sign * value >= sign * objective.tune(weights)[0] - 1e-12
        assert sum(settings.weights) == 1000


def test_a_useful_member_gets_the_weight():
    objective = noise(members=3, cases=200)
    objective.scores[1] = np.clip(objective.scores[1] + 0.6 * objective.frame["y_a"].to_numpy()[:, None], 0, 1)
    _, settings = search(objective, SearchPlan(trials=40, seed=0))
    assert np.argmax(settings.weights) == 1


def test_weights_from_draws():
    assert weights_of([1.0, 1.0]) == (500, 500)
    assert weights_of([0.5, 0.5, 1.0]) == (500, 500, 0)


def test_tuned_weights_that_lose_to_equal_ones_give_way_to_them():
    found = [
        crossfit(noise(members=4, cases=80, metric="log_loss", seed=seed), SearchPlan(trials=12)) for seed in range(6)
    ]
    lost = [one for one in found if one.note is not None]
    assert len(lost) > 0
    for one in found:
        rows = one.baselines
        better = rows["equal weights"].cross_fitted < rows["tuned"].cross_fitted
        assert (one.note is not None) == better
        assert one.settings.weights == (rows["equal weights" if better else "tuned"].weights)
    note = lost[0].note
    assert note.startswith("weights stay equal, because tuned ones score worse cross-fitted: 0.")
