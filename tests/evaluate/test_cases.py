"""Which cases are shown, and which count as failures."""

from __future__ import annotations

import numpy as np
import pandas as pd

from heldout.evaluate.cases import (
    choose_best_worst_uncertain,
    choose_evenly,
    choose_worst_median_best,
    find_failures,
    per_class,
    score_cases,
    score_classes,
)
from heldout.metrics.tables import columns_of


def of_masks(tp, fp, fn):
    """A table of one class from voxel counts."""
    ids = list("abcdefgh")[: len(tp)]
    table = pd.DataFrame({"case_id": ids, "patient_id": ids, "fold": 0, "p_x": 0.5})
    return table.assign(y_x=np.add(tp, fn) > 0, tp_x=tp, fp_x=fp, fn_x=fn)


def of_labels(truth, probability):
    ids = list("abcdefgh")[: len(truth)]
    return pd.DataFrame({"case_id": ids, "patient_id": ids, "fold": 0, "y_x": truth, "p_x": probability})


def scores_of(table):
    return score_cases(table, columns_of(table, ("x",)))


def failures_of(table):
    columns = columns_of(table, ("x",))
    return find_failures(score_classes(table, columns), masks=columns.counts is not None)


MASKS = of_masks(tp=[0, 5, 9, 7, 0, 0, 0], fp=[0, 0, 0, 0, 0, 4, 2], fn=[9, 5, 1, 3, 0, 0, 0])


def test_cases_are_chosen_from_worst_to_best_and_the_largest_false_positive_is_shown():
    assert choose_evenly(scores_of(MASKS)) == ["a", "d", "c", "f"]
    assert choose_evenly(scores_of(MASKS[MASKS["fp_x"] == 0])) == ["a", "b", "d", "c"]
    assert choose_evenly(scores_of(MASKS.iloc[4:5])) == ["e"]


def test_classified_cases_start_with_the_worst():
    assert choose_evenly(scores_of(of_labels([1, 0, 1], [0.9, 0.8, 0.4]))) == ["b", "c", "a"]


def test_the_worst_median_and_best_cases_are_captioned_with_what_they_score():
    chosen = choose_worst_median_best(scores_of(MASKS), each=1)
    assert chosen == [
        ("a", "Worst, Dice 0.00"),
        ("d", "Median, Dice 0.82"),
        ("c", "Best, Dice 0.95"),
        ("f", "Largest false positive, no foreground in this case"),
    ]
    labels = choose_worst_median_best(scores_of(of_labels([1, 0, 1], [0.9, 0.8, 0.4])), each=1)
    assert labels == [("b", "Worst, off by 0.80"), ("c", "Median, off by 0.60"), ("a", "Best, off by 0.10")]


def test_a_case_without_truth_and_prediction_is_perfect():
    scores = scores_of(MASKS).set_index("case_id")
    assert scores.loc["e", "dice"] == 1
    assert scores.loc["f", ["dice", "n_true", "n_pred"]].tolist() == [0, 0, 4]


def test_failures_are_sorted_by_severity():
    found = failures_of(of_masks(tp=[5, 1, 0, 0, 0, 0], fp=[0, 9, 0, 0, 7, 3], fn=[0, 4, 8, 2, 0, 0]))
    assert list(found.worst["case_id"]) == ["b", "a"]
    assert list(found.missed["case_id"]) == ["c", "d"]
    assert list(found.false_positives["case_id"]) == ["e", "f"]
    assert (found.positive, found.negative, found.missed_count, found.false_positive_count) == (4, 2, 2, 2)


def test_failures_of_a_classification_are_its_most_confident_errors():
    found = failures_of(of_labels([1, 1, 0, 0], [0.1, 0.4, 0.95, 0.2]))
    assert list(found.worst["case_id"]) == ["c", "a", "b"]
    assert list(found.missed["case_id"]) == ["a", "b"]
    assert list(found.false_positives["case_id"]) == ["c"]


def test_label_maps_and_channels_become_one_mask_per_class():
    assert per_class(np.array([[[0, 1, 2]]]), 2).astype(int).tolist() == [[[0, 1, 0]], [[0, 0, 1]]]
    assert per_class(np.array([[[1, 0]], [[1, 1]]]), 2).astype(int).tolist() == [[[1, 0]], [[1, 1]]]
    assert per_class(np.array([[[1, 0]]]), 1).astype(int).tolist() == [[[1, 0]]]


def test_the_best_worst_and_least_certain_cases_are_chosen_once_each():
    probability = [0.9, 0.8, 0.1, 0.95, 0.05, 0.52, 0.45, 0.2]
    table = of_labels([1, 1, 1, 0, 0, 0, 1, 0], probability)
    assert choose_best_worst_uncertain(scores_of(table), each=2) == [
        *(("a", "best"), ("b", "best")),
        *(("d", "worst"), ("c", "worst")),
        *(("f", "least certain"), ("g", "least certain")),
    ]
