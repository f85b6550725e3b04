"""How optimistic in-sample scores are: members that are nothing but noise, blended by many trials.

Their in-sample score looks like skill. Scored with settings tuned on the other folds they must read as chance, an AUC
of one half. The harder set has members on different levels of probability and folds of different prevalence: there a
score that follows the labels of the other folds would be pulled below one half, because a fold with many positive
cases leaves few to the others.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
import pandas as pd
from record import Measurement, record

from heldout.blend.crossfit import crossfit
from heldout.blend.label_objective import LabelObjective
from heldout.blend.study import SearchPlan
from heldout.metrics import score

MEMBERS, CASES, FOLDS, TRIALS = 10, 200, 5, 150


def noise(seed: int, *, uneven: bool) -> LabelObjective:
    """Ten members that know nothing of 200 cases in 5 folds."""
    random = np.random.default_rng(seed)
    fold = np.arange(CASES) % FOLDS
    shares = np.linspace(0.2, 0.6, FOLDS) if uneven else np.full(FOLDS, 0.4)
    truth = np.zeros(CASES, bool)
    for number, share in enumerate(shares):
        cases = random.permutation(np.flatnonzero(fold == number))
        truth[cases[: round(share * len(cases))]] = True
    names = [f"case{i}" for i in range(CASES)]
    frame = pd.DataFrame({"case_id": names, "patient_id": names, "fold": fold, "y_a": truth.astype(float)})
    scores = random.random((MEMBERS, CASES, 1))
    if uneven:
        scores = 0.35 * scores + np.linspace(0, 0.65, MEMBERS)[:, None, None]
    return LabelObjective(frame, ("a",), "roc_auc", scores, False)


def within_folds(table: pd.DataFrame) -> float:
    """AUC over the pairs of cases of one fold: free of what differs between folds."""
    wins = pairs = 0.0
    for _, fold in table.groupby("fold"):
        positive = int(fold["y_a"].sum())
        count = positive * (len(fold) - positive)
        wins, pairs = wins + count * score("roc_auc", fold, ("a",)), pairs + count
    return wins / pairs


def main() -> int:
    """Repeat with other seeds, and average."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=20, help="simulations of each kind")
    parser.add_argument("--trials", type=int, default=TRIALS, help="weightings that Optuna tries")
    asked = parser.parse_args()
    measurements = []
    for uneven, what in ((False, "even folds"), (True, "uneven folds and levels")):
        rows = []
        for seed in range(asked.repeats):
            found = crossfit(noise(seed, uneven=uneven), SearchPlan(trials=asked.trials, seed=seed))
            rows.append([found.scores.in_sample, found.scores.cross_fitted, within_folds(found.cross_fitted)])
        values = np.array(rows)
        in_sample, cross_fitted, inside = values.mean(0)
        error = values[:, 1].std(ddof=1) / np.sqrt(len(values))
        measurements += [
            Measurement(f"{what}: in-sample AUC, mean of {asked.repeats}", float(in_sample), ""),
            Measurement(f"{what}: cross-fitted AUC, mean", float(cross_fitted), ""),
            Measurement(f"{what}: cross-fitted AUC, standard error of the mean", float(error), ""),
            Measurement(
                f"{what}: cross-fitted AUC, distance of the mean from 0.5", abs(float(cross_fitted) - 0.5), "", 0.04
            ),
            Measurement(f"{what}: the same over pairs within a fold only", float(inside), ""),
        ]
    return record("optimism", measurements)


if __name__ == "__main__":
    sys.exit(main())
