"""Patient-level scores from tables of slices, against a loop over patients."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from heldout.errors import UserError
from heldout.metrics import get_metric, interval, score
from heldout.metrics.registry import further_scores
from heldout.metrics.tables import columns_of


def slices(patients=24, seed=0):
    random = np.random.default_rng(seed)
    rows = []
    for patient in range(patients):
        ill = patient % 2
        for number in range(random.integers(1, 7)):
            size = int(random.integers(1, 40)) * ill
            found = int(random.integers(0, size + 1))
            rows.append(
                {
                    "case_id": f"p{patient}_{number}",
                    "patient_id": f"p{patient}",
                    "y_x": float(size > 0),
                    "p_x": random.random() ** (0.5 if ill else 1.5),
                    "tp_x": found,
                    "fp_x": int(random.integers(0, 9)),
                    "fn_x": size - found,
                }
            )
    return pd.DataFrame(rows).sample(frac=1, random_state=seed).reset_index(drop=True)


def by_patient(frame, function):
    return np.array([function(rows) for _, rows in frame.groupby("patient_id", sort=True)])


def test_detection_takes_the_highest_probabilities_of_a_patient():
    frame = slices()
    truth = by_patient(frame, lambda rows: rows["y_x"].max())
    highest = by_patient(frame, lambda rows: rows["p_x"].max())
    top = by_patient(frame, lambda rows: rows["p_x"].nlargest(3).mean())
    assert score("patient:roc_auc", frame, ["x"]) == pytest.approx(roc_auc_score(truth, highest))
    assert score("patient_top3:roc_auc", frame, ["x"]) == pytest.approx(roc_auc_score(truth, top))
    assert score("patient:sensitivity", frame, ["x"]) == pytest.approx((highest >= 0.5)[truth == 1].mean())
    assert score("patient_top3:specificity", frame, ["x"]) == pytest.approx((top < 0.5)[truth == 0].mean())


def test_the_slices_of_a_patient_are_scored_as_one_volume():
    frame = slices()
    counts = by_patient(frame, lambda rows: rows[["tp_x", "fp_x", "fn_x"]].sum().to_numpy())
    hits, false, missed = counts[(counts[:, 0] + counts[:, 2]) > 0].T
    assert score("patient:dice_pos", frame, ["x"]) == pytest.approx((2 * hits / (2 * hits + false + missed)).mean())
    error = np.abs(false - missed) / (hits + missed)
    assert score("patient:volume_error_pos", frame, ["x"]) == pytest.approx(error.mean())
    frame["voxel_mm3"] = 2.0
    expected = np.abs(counts[:, 1] - counts[:, 2]).mean() * 2 / 1000
    assert score("patient:volume_ml_error_all", frame, ["x"]) == pytest.approx(expected)


def test_voxels_of_different_sizes_add_up_by_their_volume():
    frame = slices()
    frame["voxel_mm3"] = np.random.default_rng(1).uniform(0.5, 4, len(frame))
    columns = frame[["tp_x", "fp_x", "fn_x"]].mul(frame["voxel_mm3"], axis=0).assign(patient_id=frame["patient_id"])
    hits, false, missed = by_patient(columns, lambda rows: rows[["tp_x", "fp_x", "fn_x"]].sum().to_numpy()).T
    expected = np.abs(false - missed).mean() / 1000
    assert score("patient:volume_ml_error_all", frame, ["x"]) == pytest.approx(expected)
    held = hits + missed > 0
    dice = (2 * hits / np.maximum(2 * hits + false + missed, 1e-9))[held]
    assert score("patient:dice_pos", frame, ["x"]) == pytest.approx(dice.mean())


def test_scores_of_patients_have_intervals_over_patients_too():
    frame = slices(60)
    found = interval("patient:roc_auc", frame, ["x"])
    assert found.low < found.value < found.high
    few = frame[frame["patient_id"].isin(["p0", "p1", "p2", "p3"])].reset_index(drop=True)
    assert np.isnan(interval("patient:roc_auc", few, ["x"]).low)


def test_the_weight_of_a_patient_is_that_of_the_cases():
    frame = slices(30)
    weights = frame["patient_id"].map({f"p{n}": n % 3 for n in range(30)}).to_numpy(float)
    repeated = [frame]
    repeated += [
        frame[weights == 2].assign(
            case_id=lambda rows: rows["case_id"] + "_again", patient_id=lambda rows: rows["patient_id"] + "_again"
        )
    ]
    twice = pd.concat([frame[weights > 0], repeated[1]], ignore_index=True)
    for name in ("patient:roc_auc", "patient:dice_pos"):
        found = get_metric(name).evaluate(columns_of(frame, ["x"]), weights[None])[0]
        assert found == pytest.approx(score(name, twice, ["x"]))


def test_further_scores_are_those_that_the_table_allows():
    frame = slices()
    assert "patient:dice_pos" in further_scores("segmentation", frame)
    assert "patient:dice_pos" not in further_scores("classification", frame)
    alone = frame.assign(patient_id=frame["case_id"])
    assert further_scores("segmentation", alone) == []
    assert "lesion_f1_pos" in further_scores("segmentation", alone.assign(lesions_x=0))


def test_what_makes_no_sense_for_patients_is_refused():
    with pytest.raises(UserError, match="surfaces of slices"):
        score("patient:hd95_pos", slices(), ["x"])
    with pytest.raises(UserError, match="no column patient_id"):
        score("patient:roc_auc", slices().drop(columns="patient_id"), ["x"])
    with pytest.raises(UserError, match="'nothing' does not exist"):
        score("patient:nothing", slices(), ["x"])
