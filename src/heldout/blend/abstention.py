"""When a decision abstains: a cut of its doubt, tuned on out-of-fold predictions for a risk that one accepts.

Selective prediction: El-Yaniv and Wiener 2010 (https://jmlr.org/papers/v11/el-yaniv10a.html). The risk of a
classification is the share of wrong labels, of a segmentation 1 - Dice.
"""

from __future__ import annotations

import numpy as np

from heldout.blend.decision import Decision
from heldout.blend.doubt import case_doubt
from heldout.blend.members import load_member
from heldout.blend.records import Abstention
from heldout.blend.session import Session
from heldout.blend.together import held_out_results
from heldout.errors import UserError
from heldout.metrics.overlap import case_dice
from heldout.metrics.tables import columns_of
from heldout.metrics.uncertainty import risk_coverage
from heldout.predict.store import read_table
from heldout.progress import track
from heldout.records import finite


def tune_abstention(decision: Decision, session: Session, risk: float) -> Abstention:
    """The largest coverage whose risk, out of fold, is at most ``risk``; scored with cuts tuned on the other folds.

    Raises:
        UserError: the decision predicts numbers, only one fold is finished, or no cut keeps to the risk.
    """
    if decision.kind == "regression":
        raise UserError(f"{decision.name} predicts numbers, of which no entropy is known: leave out --abstain")
    if len(decision.folds) < 2:
        raise UserError(f"{decision.name} has one finished fold, and a cut needs others to be scored on: finish two")
    table = read_table(decision.folder, "oof")
    columns = columns_of(table, decision.classes)
    if columns.counts is not None:
        losses = 1 - case_dice(columns.counts, 1.0).mean(axis=1)
    else:
        mistakes = columns.truth != columns.predicted
        losses = mistakes.any(axis=1).astype(float) if decision.exclusive else mistakes.mean(axis=1)
    members = [load_member(member.name, session) for member in decision.members]
    doubts = np.empty(len(table))
    results = held_out_results(decision, members, table, list(table["case_id"]))
    for number, found in enumerate(track(results, len(table), "Reading out-of-fold predictions")):
        doubts[number] = case_doubt(decision.exclusive, found.scores, found.map, found.mask)
    cut = choose_cut(doubts, losses, risk)
    if cut is None:
        raise UserError(
            f"--abstain {risk:g}: even the most certain cases of {decision.name} have a higher risk out of fold "
            f"(all cases have {losses.mean():.3f}): accept a higher one"
        )
    folds, answered = table["fold"].to_numpy(), np.zeros(len(table), bool)
    for fold in np.unique(folds):
        other = choose_cut(doubts[folds != fold], losses[folds != fold], risk)
        answered[folds == fold] = other is not None and doubts[folds == fold] <= other
    return Abstention(
        risk=risk,
        cut=cut,
        coverage=float(answered.mean()),
        selective_risk=finite(losses[answered].mean()) if answered.any() else None,
        full_risk=float(losses.mean()),
    )


ROUNDING = 1e-12  # of a mean of losses


def choose_cut(doubts: np.ndarray, losses: np.ndarray, risk: float) -> float | None:
    """The largest doubt up to which the mean loss is at most ``risk``; None where there is none.

    Args:
        doubts: (n,) float.
        losses: (n,) float.
        risk: Largest mean loss of the cases that are answered.

    Example:
        >>> choose_cut(np.array([0.1, 0.2, 0.3]), np.array([0.0, 0.0, 1.0]), 0.1)
        0.2
    """
    ordered = np.sort(doubts)
    last = np.append(ordered[1:] > ordered[:-1], True)  # cases of equal doubt are answered together, or none of them
    good = np.flatnonzero((risk_coverage(doubts, losses)[1] <= risk + ROUNDING) & last)
    return float(ordered[good[-1]]) if len(good) else None
