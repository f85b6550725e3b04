"""Whether one run or blend is better than another: a paired verdict on the cases that both predicted."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from heldout.errors import UserError
from heldout.evaluate.held_out import CROSS_FITTED, HeldOut, open_held_out

_MORE = "it needs more patients with and without the class, or more folds of both"


@dataclass(frozen=True)
class Verdict:
    """The paired difference of two scores.

    Attributes:
        better: Name of the one that scores better.
        other: Name of the other.
        metric: Name of the score.
        higher_is_better: Direction of the score.
        difference: By how much ``better`` is better: never negative, whatever the direction of the score.
        low, high: Its 95 % interval over patients.
        probability_better: How surely ``better`` is better, by the distribution behind the interval.
        distinct: Whether the interval leaves out 0.
        cases, patients: How many both predicted.
        only_shared: Whether one of the two predicted more cases than these.
        notes: What else matters to the comparison.
    """

    better: str
    other: str
    metric: str
    higher_is_better: bool
    difference: float
    low: float
    high: float
    probability_better: float
    distinct: bool
    cases: int
    patients: int
    only_shared: bool
    notes: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """The verdict in one sentence."""
        what = self.metric + ("" if self.higher_is_better else " (lower is better)")
        shared = ", the cases both predicted" if self.only_shared else ""
        by = f"by {self.difference:.4f} {what} [{self.low:.4f}, {self.high:.4f}] on {self.patients} patients{shared}"
        chance = f"(probability better {self.probability_better:.2f})"
        if self.distinct:
            return f"{self.better} beats {self.other} {by} {chance}"
        if self.difference == 0:
            return f"{self.better} and {self.other} cannot be told apart: they differ {by}"
        return f"{self.better} and {self.other} cannot be told apart: {self.better} is ahead {by} {chance}"

    def gain_of(self, name: str) -> tuple[float, float, float, float]:
        """By how much one of the two is better, negative where it is worse; the interval; how probably it is better."""
        if name == self.better:
            return self.difference, self.low, self.high, self.probability_better
        return -self.difference, -self.high, -self.low, 1 - self.probability_better

    def to_dict(self) -> dict[str, Any]:
        """Plain values and the sentence, for JSON."""
        return {**asdict(self), "notes": list(self.notes), "sentence": self.sentence}


def compare_rows(first: str, second: str) -> Verdict:
    """Compare two runs or blends on the cases that both predicted while held out.

    Of a run the mean of its finished seeds counts, or of those named (``exp040/seed1``). Both are compared as they are
    ranked: at cross-fitted thresholds, where thresholds matter.

    Raises:
        UserError: one does not exist or cannot be read, or the two do not compare.
    """
    if first == second:
        raise UserError(f"{first} is compared with itself: name two runs or blends")
    return compare_held_out(open_held_out(first), open_held_out(second))


def compare_held_out(one: HeldOut, other: HeldOut, metric: str | None = None, *, at_half: bool = False) -> Verdict:
    """Compare two sets of held-out predictions on the cases that both hold.

    Args:
        one: A run or a blend.
        other: Another.
        metric: Score to compare by; None is that of both.
        at_half: Cut the masks and labels of runs at one half.

    Raises:
        UserError: the two do not compare.
    """
    from heldout.metrics import compare, get_metric

    pair, first, second = (one, other), one.name, other.name
    _check(*pair, metric)
    tables = [part.table if at_half else part.ranking_table for part in pair]
    shared = set(tables[0]["case_id"]) & set(tables[1]["case_id"])
    if not shared:
        raise UserError(f"{first} and {second} share no predicted case: train the same folds of both")
    a, b = (table[table["case_id"].isin(shared)].reset_index(drop=True) for table in tables)
    metric = metric or one.metric
    found = compare(metric, a, b, one.classes)
    where = f"the {len(shared)} cases that {first} and {second} share"
    if not math.isfinite(found.value):
        raise UserError(f"{metric} is undefined on {where}: {_MORE}")
    if not math.isfinite(found.low):
        raise UserError(f"{metric} on {where} has too few patients for an interval: {_MORE}")
    upward = get_metric(metric).higher_is_better
    gain, low, high = (found.value, found.low, found.high) if upward else (-found.value, -found.high, -found.low)
    chance, names = found.probability_better, (first, second)
    if gain < 0:
        gain, low, high, chance, names = -gain, -high, -low, 1 - chance, (second, first)
    notes = [
        f"the checkpoints of {part.name} were chosen by their own folds' scores"
        for part in pair
        if part.best_checkpoint
    ]
    tuned = [part.name for part in pair if part.threshold == CROSS_FITTED and (part.is_blend or not at_half)]
    if len(tuned) == 1 and get_metric(metric).thresholded:
        notes.append(f"{tuned[0]} has tuned thresholds, the other is cut at one half: finish the folds of the other")
    if one.seeds and other.seeds and len(one.seeds) != len(other.seeds):
        seeds = " and ".join(f"{len(part.seeds)} of {part.name}" for part in pair)
        notes.append(
            f"means of unequal numbers of seeds, {seeds}: `leaderboard --compare` takes one of each too (exp040/seed0)"
        )
    return Verdict(
        *names,
        metric=metric,
        higher_is_better=upward,
        difference=abs(gain),
        low=low,
        high=high,
        probability_better=chance,
        distinct=low > 0 or high < 0,
        cases=len(a),
        patients=int(a["patient_id"].nunique()),
        only_shared=any(len(table) > len(shared) for table in tables),
        notes=tuple(notes),
    )


def _truth_of(held: HeldOut) -> str:
    """SHA-256 of what was scored, whose cases may have changed after a blend was made."""
    return held.dataset.truth_hash if held.dataset.data_hash == held.data_hash else held.data_hash


def _check(first: HeldOut, second: HeldOut, metric: str | None) -> None:
    """Refuse two that do not compare."""
    names = f"{first.name} and {second.name} cannot be compared"
    if first.dataset_name != second.dataset_name:
        raise UserError(f"{names}: one uses {first.dataset_name}, the other {second.dataset_name}")
    if first.data_hash != second.data_hash and _truth_of(first) != _truth_of(second):
        raise UserError(
            f"{names}: they use different cases or parts of {first.dataset_name}; make both from the same files, "
            "test_fraction and fold_seed"
        )
    if first.fold_hash != second.fold_hash:
        raise UserError(f"{names}: their fold tables differ; give both the same fold_count and fold_seed")
    if first.classes != second.classes:
        raise UserError(f"{names}: their classes differ")
    if metric is None and first.metric != second.metric:
        raise UserError(f"{names}: one is scored by {first.metric}, the other by {second.metric}")
