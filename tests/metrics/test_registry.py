"""Metrics by name on tables: agreement with scikit-learn, undefined is nan, and bad tables are refused by case."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics as reference

from heldout.errors import UserError
from heldout.metrics import METRICS, check_cases, get_metric, interval, score
from heldout.metrics.registry import get_ranking_metric
from heldout.metrics.tables import columns_of


def table(classes=("a",), count=60, seed=0, exclusive=False, masks=False):
    random = np.random.default_rng(seed)
    frame = pd.DataFrame({"case_id": [f"case{i}" for i in range(count)]})
    frame["patient_id"] = [f"patient{i // 2}" for i in range(count)]
    truth = random.random((count, len(classes))) < 0.4
    probability = random.random((count, len(classes))).round(2)
    if exclusive:
        truth = np.eye(len(classes), dtype=bool)[random.integers(0, len(classes), count)]
        probability /= probability.sum(1, keepdims=True)
    for k, name in enumerate(classes):
        frame[f"y_{name}"], frame[f"p_{name}"] = truth[:, k].astype(float), probability[:, k]
        if masks:
            found = random.integers(0, 50, (3, count)) * [[1], [1], [1]]
            frame[f"tp_{name}"], frame[f"fn_{name}"] = found[0] * truth[:, k], found[1] * truth[:, k]
            frame[f"fp_{name}"] = found[2] * (random.random(count) < 0.5)
            lesions, extra = random.integers(1, 5, (2, count))
            frame[f"lesions_{name}"] = lesions * (frame[f"tp_{name}"] + frame[f"fn_{name}"] > 0)
            frame[f"found_{name}"] = np.minimum(frame[f"lesions_{name}"], random.integers(0, 5, count))
            frame[f"false_{name}"] = extra
            frame[f"regions_{name}"] = extra + frame[f"found_{name}"]
            frame[f"hd95_{name}"], frame[f"assd_{name}"] = random.random((2, count)) * 30
            frame["voxel_mm3"] = 2.0
    return frame


BINARY = {
    "roc_auc": reference.roc_auc_score,
    "average_precision": reference.average_precision_score,
    "log_loss": lambda y, p: reference.log_loss(y, np.clip(p, 1e-7, 1 - 1e-7)),
    "brier": reference.brier_score_loss,
    "accuracy": lambda y, p: reference.accuracy_score(y, p >= 0.5),
    "balanced_accuracy": lambda y, p: reference.balanced_accuracy_score(y, p >= 0.5),
    "f1": lambda y, p: reference.f1_score(y, p >= 0.5),
    "sensitivity": lambda y, p: reference.recall_score(y, p >= 0.5),
    "specificity": lambda y, p: reference.recall_score(1 - y, p < 0.5),
}


@pytest.mark.parametrize("name", BINARY)
def test_binary_and_multi_label_scores_agree_with_scikit_learn(name):
    frame = table(("a", "b"))
    expected = [BINARY[name](frame[f"y_{c}"], frame[f"p_{c}"]) for c in ("a", "b")]
    assert score(name, frame, ["a"]) == pytest.approx(expected[0])
    assert score(name, frame, ["a", "b"]) == pytest.approx(np.mean(expected))


def test_multi_class_scores_agree_with_scikit_learn():
    classes = ["a", "b", "c"]
    frame = table(classes, exclusive=True)
    truth = frame[[f"y_{c}" for c in classes]].to_numpy().argmax(1)
    probability = frame[[f"p_{c}" for c in classes]].to_numpy()
    called = probability.argmax(1)
    expected = {
        "accuracy": reference.accuracy_score(truth, called),
        "balanced_accuracy": reference.balanced_accuracy_score(truth, called),
        "f1": reference.f1_score(truth, called, average="macro"),
        "roc_auc": reference.roc_auc_score(truth, probability, multi_class="ovr"),
        "log_loss": reference.log_loss(truth, probability),
    }
    for name, value in expected.items():
        assert score(name, frame, classes) == pytest.approx(value), name


def test_calibration_error_by_hand():
    frame = table(count=40_000)
    frame["p_a"], frame["y_a"] = np.tile([0.05, 0.06, 0.95, 0.97], 10_000), np.tile([0, 1, 1, 1], 10_000)
    assert score("ece", frame, ["a"]) == pytest.approx((abs(0.11 - 1) + abs(1.92 - 2)) / 4, abs=1e-3)


def test_the_calibration_error_of_a_perfect_network_is_near_zero_on_few_cases():
    random, debiased, plain = np.random.default_rng(0), [], []
    for _ in range(200):
        p = random.random(60)
        frame = table(count=60).assign(p_a=p, y_a=(random.random(60) < p).astype(float))
        debiased.append(score("ece", frame, ["a"]))
        places = np.arange(15)[:, None] == np.minimum((p * 15).astype(int), 14)
        plain.append(np.abs(places @ (p - frame["y_a"])).sum() / 60)
    assert np.mean(debiased) < np.mean(plain) / 2


def test_the_name_says_what_empty_masks_score():
    frame = table(count=3, masks=True)
    # A hit with 2*6/(12+2+2) = 0.75, an empty mask left empty, an empty mask with a false positive.
    frame["tp_a"], frame["fp_a"], frame["fn_a"] = [6, 0, 0], [2, 0, 9], [2, 0, 0]
    assert score("dice_pos", frame, ["a"]) == pytest.approx(0.75)
    assert score("dice_all", frame, ["a"]) == pytest.approx((0.75 + 1 + 0) / 3)
    assert score("iou_pos", frame, ["a"]) == pytest.approx(0.6)
    assert score("iou_all", frame, ["a"]) == pytest.approx((0.6 + 1 + 0) / 3)


def weighted(name, frame, classes, weights):
    metric = get_metric(name)
    columns = columns_of(metric.view(frame, classes), classes, regression=metric.kind == "regression")
    return metric.evaluate(columns, weights.astype(float))


@pytest.mark.parametrize("name", [*METRICS, "weighted_auc:a"])
def test_many_weightings_at_once_equal_repeated_rows(name):
    frame = table(("a", "b"), count=30, masks=get_metric(name).kind == "segmentation")
    weights = np.random.default_rng(1).integers(0, 3, (4, 30))
    scores = weighted(name, frame, ["a", "b"], weights)
    for row, value in zip(weights, scores, strict=True):
        repeated = frame.loc[np.repeat(frame.index, row)].copy()
        repeated["case_id"] = [f"copy{i}" for i in range(len(repeated))]
        assert value == pytest.approx(score(name, repeated, ["a", "b"]), abs=1e-12)
        assert value == pytest.approx(weighted(name, frame, ["a", "b"], row[None])[0], abs=1e-12)


@pytest.mark.parametrize("name", ["roc_auc", "average_precision", "balanced_accuracy", "f1", "sensitivity", "dice_pos"])
def test_one_class_only_is_undefined_never_zero(name):
    frame = table(masks=METRICS[name].kind == "segmentation")
    frame["y_a"] = 0.0
    frame[[c for c in frame if c in ("tp_a", "fn_a")]] = 0
    assert np.isnan(score(name, frame, ["a"]))


def test_tuned_calls_replace_the_threshold_of_one_half():
    frame = table()
    frame["d_a"] = frame["y_a"]
    assert score("f1", frame, ["a"]) == 1.0
    assert score("roc_auc", frame, ["a"]) < 0.9


DEFECTS = {
    "nan": (lambda f: f.assign(p_a=f["p_a"].where(f.index != 3)), "p_a of case case3 is not a finite number"),
    "range": (lambda f: f.assign(p_a=f["p_a"].where(f.index != 3, 1.5)), "p_a of case case3 lies outside 0"),
    "label": (lambda f: f.assign(y_a=f["y_a"].where(f.index != 3, 0.5)), "y_a of case case3 must be 0 or 1"),
    "twice": (lambda f: pd.concat([f, f[:1]]), "case case0 occurs twice"),
    "column": (lambda f: f.drop(columns="p_a"), "no column p_a"),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_bad_tables_are_refused_by_case(defect):
    spoil, message = DEFECTS[defect]
    with pytest.raises(UserError, match=message):
        score("roc_auc", spoil(table()), ["a"])


def test_missing_and_stray_cases_are_named():
    frame = table()
    with pytest.raises(UserError, match="case case2 has no prediction"):
        check_cases(frame[frame["case_id"] != "case2"], frame["case_id"])
    with pytest.raises(UserError, match="case case2 is predicted but"):
        check_cases(frame, frame["case_id"].drop(2))


def test_an_unknown_metric_and_a_mask_metric_without_masks_are_refused():
    with pytest.raises(UserError, match=r"'dice' does not exist: choose one of .*dice_pos"):
        score("dice", table(), ["a"])
    with pytest.raises(UserError, match="dice_pos needs masks"):
        score("dice_pos", table(), ["a"])


def test_an_optimistic_score_is_shown_but_nothing_is_ranked_by_it():
    assert get_metric("best_f1").ranks
    with pytest.raises(UserError, match=r"'best_f1' chooses its threshold on the scored cases: rank by average_prec"):
        get_ranking_metric("best_f1")
    assert get_ranking_metric("f1") is get_metric("f1")


def test_the_weighted_auc_is_half_the_presence_and_half_the_mean_of_the_places():
    classes = ["left", "present", "right", "middle"]
    frame = table(classes)
    single = {name: reference.roc_auc_score(frame[f"y_{name}"], frame[f"p_{name}"]) for name in classes}
    places = np.mean([single[name] for name in classes if name != "present"])
    expected = (single["present"] + places) / 2
    assert score("weighted_auc:present", frame, classes) == pytest.approx(expected)
    # as the challenge states it: the presence weighs as much as the thirteen (here three) places together
    challenge = np.average([single[name] for name in classes], weights=[1, 3, 1, 1])
    assert expected == pytest.approx(challenge)
    assert score("weighted_auc:present", frame, ["left"]) == pytest.approx(single["left"])


def test_a_weighted_auc_without_a_presence_class_is_refused():
    with pytest.raises(UserError, match=r"'weighted_auc' does not exist: .*or weighted_auc:CLASS, where CLASS says"):
        score("weighted_auc", table(), ["a"])
    with pytest.raises(UserError, match=r"weighted_auc:c: there is no class 'c', name one of a, b"):
        score("weighted_auc:c", table(("a", "b")), ["a", "b"])


def test_maximum_calibration_error_by_hand():
    frame = table(count=4)
    frame["p_a"], frame["y_a"] = [0.05, 0.06, 0.99, 0.97], [0, 1, 1, 0]
    assert score("mce", frame, ["a"]) == pytest.approx(max(abs(0.055 - 0.5), abs(0.98 - 0.5)))
    assert weighted("mce", frame, ["a"], np.array([[0, 0, 1, 0]]))[0] == pytest.approx(0.01)


@pytest.mark.parametrize("name", list(METRICS))
def test_ranking_looks_behind_a_calibration_and_nothing_else_does(name):
    plain = table(masks=True)
    calibrated = plain.assign(uncalibrated_a=plain["p_a"], p_a=(plain["p_a"] + plain.index % 2) / 2)
    expected = (
        plain if name in ("roc_auc", "average_precision", "best_f1") else calibrated.drop(columns="uncalibrated_a")
    )
    assert score(name, calibrated, ["a"]) == pytest.approx(score(name, expected, ["a"]), nan_ok=True)
    assert repr(interval(name, calibrated, ["a"])) == repr(interval(name, expected, ["a"]))
