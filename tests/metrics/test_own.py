"""A competition's own metric: found by name, checked when first used, equal to a built-in one of the same formula."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.metrics as reference
from hypothesis import given, settings
from hypothesis import strategies as st

from heldout.errors import UserError
from heldout.metrics import get_metric, interval, score
from heldout.metrics.presets import weighted_log_loss
from heldout.metrics.registry import METRICS, get_ranking_metric
from heldout.metrics.tables import columns_of
from tests.metrics.test_registry import table

FILE = '''
"""Metrics of a competition."""
import heldout as ho

@ho.metric(higher_is_better=True)
def own_pf1(cases):
    y, p = cases.truth, cases.probability
    return np.mean(2 * (y * p).sum(0) / (y.sum(0) + p.sum(0)))

@ho.metric(higher_is_better=True)
def fast_pf1(cases, weights):
    y, p = cases.truth.astype(float), cases.probability
    return (2 * (weights @ (y * p)) / (weights @ y + weights @ p)).mean(1)

@ho.metric(higher_is_better=True)
def table_pf1(table):
    return 2 * (table.y_a * table.p_a).sum() / (table.y_a.sum() + table.p_a.sum())

@ho.metric(higher_is_better=True)
def first_case(cases):
    return cases.probability[0, 0]

@ho.metric(higher_is_better=True)
def total(cases, weights):
    return weights @ cases.probability[:, 0]

@ho.metric(higher_is_better=True)
def unweighted(cases, weights):
    return np.full(len(weights), cases.probability.mean())

@ho.metric(higher_is_better=True)
def fails(cases):
    return 1 / 0

@ho.metric(higher_is_better=True)
def many(cases):
    return cases.probability

@ho.metric(higher_is_better=True)
def nothing(cases):
    return float("nan")

@ho.metric(higher_is_better=True)
def spoils(cases, weights):
    cases.probability[:] = 1.0
    return weights @ cases.probability[:, 0] / weights.sum(1)

@ho.metric(higher_is_better=True, uses="predicted_label", scale="logit")
def own_f1(cases):
    hits = (cases.truth & cases.predicted).sum(0)
    return np.mean(2 * hits / (cases.truth.sum(0) + cases.predicted.sum(0)))

@ho.metric(higher_is_better=True, uses="counts", scale="logit")
def own_dice(cases, weights):
    tp, fp, fn = np.moveaxis(cases.counts, -1, 0)
    held = (tp + fn > 0).astype(float)
    dice = held * 2 * tp / np.maximum(2 * tp + fp + fn, 1)
    return ((weights @ dice) / (weights @ held)).mean(1)
'''


@pytest.fixture(autouse=True)
def written(own_file):
    own_file("import numpy as np\n" + FILE)


@pytest.mark.parametrize("name", ["own_pf1", "fast_pf1", "table_pf1"])
def test_an_own_metric_has_the_value_and_the_interval_of_the_built_in_one(name):
    frame = table(("a",), count=80)
    found, built_in = interval(name, frame, ["a"]), interval("pf1", frame, ["a"])
    assert score(name, frame, ["a"]) == pytest.approx(score("pf1", frame, ["a"]))
    assert found.value == pytest.approx(built_in.value)
    assert found.high - found.low == pytest.approx(built_in.high - built_in.low, rel=0.2)  # on another scale
    assert get_ranking_metric(f"patient:{name}").evaluate(columns_of(frame, ["a"]), np.ones((1, 80))) == pytest.approx(
        score("patient:pf1", frame, ["a"])
    )


def test_a_metric_of_an_experiments_file_is_named_with_it(own_file):
    own_file("import numpy as np\n" + FILE, "exp123")
    frame = table(("a", "b"))
    assert score("exp123:own_pf1", frame, ["a", "b"]) == pytest.approx(score("pf1", frame, ["a", "b"]))


def test_the_code_of_a_metric_is_pinned(own_file):
    before = get_metric("own_pf1").code
    own_file("import numpy as np\n" + FILE.replace("y, p = cases.truth, cases", "y, p = cases.truth, 0 * cases", 1))
    changed = get_metric("own_pf1").code
    own_file("import numpy as np\n" + FILE.replace("def own_pf1(cases):", "def own_pf1(cases):  # a comment"))
    assert before == get_metric("own_pf1").code != changed
    assert METRICS["pf1"].code == ""


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("first_case", "if the cases come in another order: let it depend on the cases alone"),
        ("total", "if every case counts twice: return a mean, not a sum"),
        ("unweighted", "if cases are repeated instead of weighted: multiply every case by its weight"),
        ("fails", "metric fails fails with ZeroDivisionError: division by zero; correct it"),
        ("many", "metric many returns ndarray: it must return one number"),
        ("nothing", "metric nothing is NaN on .* cases, though every class has positive and negative ones"),
        ("spoils", "metric spoils changes probability of its cases: let it work on a copy"),
    ],
)
def test_a_metric_that_no_interval_can_be_made_of_is_refused(name, message):
    with pytest.raises(UserError, match=message):
        score(name, table(("a", "b")), ["a", "b"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ('higher_is_better="up"', "has higher_is_better = 'up': choose True, False"),
        ('higher_is_better=True, scale="zz"', "has scale = 'zz': choose logit, log, plain, real"),
        ('higher_is_better=True, uses="masks"', "metric f in exps/.*py has uses = 'masks': choose probability,"),
    ],
)
def test_a_mark_with_another_word_is_refused(own_file, words, message):
    own_file(f"import heldout as ho\n@ho.metric({words})\ndef f(cases):\n    return 1.0\n")
    with pytest.raises(UserError, match=message):
        get_metric("f")


def test_other_arguments_and_unknown_names_are_refused(own_file):
    own_file("import heldout as ho\n@ho.metric(higher_is_better=True)\ndef f(truth, score):\n    return 1.0\n")
    with pytest.raises(UserError, match=r"must take \(cases\), \(table\) or \(cases, weights\): rename"):
        get_metric("f")
    own_file("import numpy as np\n" + FILE)
    with pytest.raises(UserError, match=r"choose one of .*, own_pf1, fast_pf1"):
        get_metric("own_pf2")


@given(st.integers(0, 10_000), st.integers(2, 4))
@settings(max_examples=25, deadline=None)
def test_kappa_agrees_with_scikit_learn(seed, classes):
    names = list("abcd"[:classes])
    frame = table(tuple(names), seed=seed, exclusive=True)
    truth, called = (frame[[f"{kind}_{c}" for c in names]].to_numpy().argmax(1) for kind in "yp")
    assert score("kappa", frame, names) == pytest.approx(reference.cohen_kappa_score(truth, called))
    weighted = reference.cohen_kappa_score(truth, called, weights="quadratic")
    assert score("quadratic_kappa", frame, names) == pytest.approx(weighted)


def test_weighted_log_loss_is_that_of_scikit_learn_with_sample_weights():
    names = ["normal", "moderate", "severe"]
    frame = table(tuple(names), exclusive=True)
    truth = frame[[f"y_{c}" for c in names]].to_numpy().argmax(1)
    metric = weighted_log_loss({"moderate": 2, "severe": 4})
    columns = columns_of(frame, names)
    probability = np.clip(columns.probability, 1e-15, None)
    expected = reference.log_loss(truth, probability, sample_weight=np.array([1, 2, 4])[truth])
    assert metric.value(columns) == pytest.approx(expected)


def test_weighted_log_loss_by_label_and_by_level():
    frame = table(("any", "left"))
    columns = columns_of(frame, ["any", "left"])
    y, p = columns.truth, np.clip(columns.probability, 1e-15, 1 - 1e-15)
    weight = np.where(y, [14, 2], [7, 1])
    expected = -(weight * np.where(y, np.log(p), np.log(1 - p))).sum() / weight.sum()
    assert weighted_log_loss({"any": (7, 14), "left": (1, 2)}).value(columns) == pytest.approx(expected)
    levels = table(("l1_a", "l1_b"), exclusive=True).join(
        table(("l2_a", "l2_b"), exclusive=True, seed=1)[["y_l2_a", "p_l2_a", "y_l2_b", "p_l2_b"]]
    )
    names = ["l1_a", "l1_b", "l2_a", "l2_b"]
    both = weighted_log_loss(groups={"l1": names[:2], "l2": names[2:]})
    alone = [score("log_loss", levels, names[part : part + 2]) for part in (0, 2)]
    assert both.value(columns_of(levels, names)) == pytest.approx(np.mean(alone), rel=1e-6)
    with pytest.raises(UserError, match="there is no class 'right', name one of any, left"):
        weighted_log_loss({"right": 2}).value(columns)
