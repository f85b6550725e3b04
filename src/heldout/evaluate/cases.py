"""Single cases: what each of them scores, which of them to show, and where a run or a blend fails."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from heldout.metrics.overlap import case_dice
from heldout.metrics.tables import Columns

SEGMENTED, CLASSIFIED = 4, 8  # cases of an overlay
EACH = 2  # cases of each kind: best, worst, median or least certain
MOST_FAILURES = 10


@dataclass(frozen=True)
class SegmentedCase:
    """A segmented case.

    Attributes:
        case_id: Its name.
        image: Values (C, *spatial).
        truth: True mask of every class (K, *spatial), bool.
        predicted: Predicted mask of every class (K, *spatial), bool.
        ignored: Voxels (1 or K, *spatial) without score, bool; None where every voxel counts.
    """

    case_id: str
    image: np.ndarray
    truth: np.ndarray
    predicted: np.ndarray
    ignored: np.ndarray | None = None

    @property
    def scored(self) -> np.ndarray:
        """:attr:`predicted` where it is scored."""
        return self.predicted if self.ignored is None else self.predicted & ~self.ignored

    @property
    def dice(self) -> float:
        """Dice of all classes together; 1 where both masks are empty."""
        hits = (self.truth & self.scored).sum()
        return float(case_dice(np.array([hits, self.scored.sum() - hits, self.truth.sum() - hits]), empty=1.0))


@dataclass(frozen=True)
class ClassifiedCase:
    """A classified case: name, values (C, *spatial), the names of its classes, and a probability per class.

    Of a regression ``truth`` holds the true numbers with their names, and ``scores`` the predicted ones.
    """

    case_id: str
    image: np.ndarray
    truth: tuple[str, ...]
    scores: dict[str, float]
    numbers: bool = False


@dataclass(frozen=True)
class Failures:
    """The errors of a run or a blend.

    Attributes:
        worst: Rows of :func:`score_classes`: positive cases with the lowest Dice that were not missed; of a
            classification, the wrong labels that were predicted with the highest confidence.
        false_positives: Negative cases in which most was predicted; of a classification, the most probable first.
        missed: Positive cases in which nothing was predicted, the largest first; of a classification, the least
            probable first.
        positive, negative: Number of cases of each kind, over all classes.
        missed_count, false_positive_count: How many of these were missed, or predicted as positive.
    """

    worst: pd.DataFrame
    false_positives: pd.DataFrame
    missed: pd.DataFrame
    positive: int
    negative: int
    missed_count: int
    false_positive_count: int


def per_class(mask: np.ndarray, classes: int) -> np.ndarray:
    """Masks (K, *spatial) bool of a label map (1, *spatial), or of binary channels (K, *spatial)."""
    if len(mask) == classes and classes > 1:
        return mask == 1
    return np.stack([mask[0] == label for label in range(1, classes + 1)])


def score_cases(table: pd.DataFrame, columns: Columns) -> pd.DataFrame:
    """What every case scores, all classes together.

    Args:
        table: Held-out predictions.
        columns: The same as arrays.

    Returns:
        case_id, patient_id and fold; ``error``, the largest distance of a probability from the label; ``p_max``, the
        largest probability; ``labeled``, whether it is labeled with any class; ``wrong``, whether any predicted label
        is wrong. Where there are masks also ``dice`` (1 where both masks are empty) and ``n_true`` and ``n_pred``,
        voxels in the true and in the predicted mask. Of a regression ``error`` alone.
    """
    if columns.target is not None and columns.value is not None:
        error = np.abs(columns.target - columns.value).max(1)
        return table[["case_id", "patient_id", "fold"]].assign(error=error)
    known = True if columns.known is None else columns.known
    found = table[["case_id", "patient_id", "fold"]].assign(
        error=np.where(known, np.abs(columns.truth - columns.probability), 0).max(1),
        p_max=columns.probability.max(1),
        labeled=columns.truth.any(1),
        wrong=((columns.truth != columns.predicted) & known).any(1),
    )
    if columns.counts is None:
        return found
    hits, extra, missed = columns.counts.sum(1).T
    dice = case_dice(columns.counts.sum(1), empty=1.0)
    return found.assign(dice=dice, n_true=(hits + missed).astype(int), n_pred=(hits + extra).astype(int))


def score_classes(table: pd.DataFrame, columns: Columns) -> pd.DataFrame:
    """What every case scores in each class.

    Args:
        table: Held-out predictions.
        columns: The same as arrays.

    Returns:
        Rows of case_id, patient_id, fold, ``label``, ``score`` (Dice, or the predicted probability), ``n_true`` and
        ``n_pred`` (voxels, or 0 and 1), class by class.
    """
    parts = []
    for k, name in enumerate(columns.classes):
        rows = table[["case_id", "patient_id", "fold"]].assign(label=name)
        if columns.known is not None:
            rows, columns_k = rows[columns.known[:, k]], columns.take(np.flatnonzero(columns.known[:, k]))
        else:
            columns_k = columns
        if columns_k.counts is None:
            score = columns_k.probability[:, k]
            n_true, n_pred = columns_k.truth[:, k].astype(int), columns_k.predicted[:, k].astype(int)
        else:
            hits, extra, missed = columns_k.counts[:, k].astype(int).T
            score = case_dice(columns_k.counts[:, k], empty=0.0)
            n_true, n_pred = hits + missed, hits + extra
        parts.append(rows.assign(score=score, n_true=n_true, n_pred=n_pred))
    return pd.concat(parts)


def find_failures(class_scores: pd.DataFrame, *, masks: bool, most: int = MOST_FAILURES) -> Failures:
    """Sort out the errors, over all classes.

    Args:
        class_scores: As :func:`score_classes` gives them.
        masks: Whether they are of masks.
        most: Cases in each list.
    """
    rows = class_scores
    positive, predicted = rows["n_true"] > 0, rows["n_pred"] > 0
    missed, extra = rows[positive & ~predicted], rows[~positive & predicted]
    if masks:
        worst = rows[positive & predicted].sort_values("score", kind="stable")
        missed = missed.sort_values("n_true", ascending=False, kind="stable")
        extra = extra.sort_values("n_pred", ascending=False, kind="stable")
    else:
        wrong = rows[positive != predicted]
        worst = wrong.assign(margin=(wrong["n_true"] - wrong["score"]).abs()).sort_values(
            "margin", ascending=False, kind="stable"
        )
        missed = missed.sort_values("score", kind="stable")
        extra = extra.sort_values("score", ascending=False, kind="stable")
    return Failures(
        worst=worst.head(most),
        false_positives=extra.head(most),
        missed=missed.head(most),
        positive=int(positive.sum()),
        negative=int((~positive).sum()),
        missed_count=len(missed),
        false_positive_count=len(extra),
    )


def choose_evenly(scores: pd.DataFrame, count: int | None = None) -> list[str]:
    """Cases evenly from the worst score to the best.

    Of segmentations those with foreground, by Dice; the last shows the largest false positive, where there is one.

    Args:
        scores: As :func:`score_cases` gives them.
        count: Number of cases; None takes as many as an overlay shows.
    """
    ids = scores["case_id"].to_numpy()
    if "dice" not in scores:
        order = np.argsort(-scores["error"].to_numpy(), kind="stable")
        return list(ids[order[evenly(len(order), count or CLASSIFIED)]])
    count = count or SEGMENTED
    positive = np.flatnonzero(scores["n_true"] > 0)
    extra = largest_false_positive(scores)
    places = count - (extra is not None)
    order = positive[np.argsort(scores["dice"].to_numpy()[positive], kind="stable")]
    chosen = list(ids[order[evenly(len(order), places)]]) if len(order) else list(ids[:places])
    return chosen if extra is None else [*chosen, extra]


def choose_worst_median_best(scores: pd.DataFrame, each: int = EACH) -> list[tuple[str, str]]:
    """The worst, the median and the best cases, each once, with a caption.

    Of segmentations those with foreground, by Dice, and the largest false positive, where there is one.

    Args:
        scores: As :func:`score_cases` gives them.
        each: Number of cases of each kind.
    """
    masks = "dice" in scores
    ranked = scores[scores["n_true"] > 0] if masks else scores
    values = ranked["dice" if masks else "error"].to_numpy()
    order = np.argsort(values if masks else -values, kind="stable")
    half = max(0, len(order) // 2 - each // 2)
    parts = (("Worst", order[:each]), ("Median", order[half : half + each]), ("Best", order[::-1][:each]))
    ids, text = ranked["case_id"].to_numpy(), "{}, Dice {:.2f}" if masks else "{}, off by {:.2f}"
    chosen: dict[str, str] = {}
    for name, places in parts:
        for place in places:
            chosen.setdefault(str(ids[place]), text.format(name, values[place]))
    if masks and (extra := largest_false_positive(scores)) is not None:
        chosen[extra] = "Largest false positive, no foreground in this case"
    return list(chosen.items())


def choose_best_worst_uncertain(scores: pd.DataFrame, each: int = EACH) -> list[tuple[str, str]]:
    """The best, the worst and the least certain labels, each case once; positive ones first among the best.

    Args:
        scores: As :func:`score_cases` gives them.
        each: Number of cases of each kind.
    """
    error = scores["error"].to_numpy()
    orders = {
        "best": np.lexsort((error, ~scores["labeled"].to_numpy())),
        "worst": np.argsort(-error, kind="stable"),
        "least certain": np.argsort(np.abs(scores["p_max"].to_numpy() - 0.5), kind="stable"),
    }
    ids, chosen = scores["case_id"].to_numpy(), dict[str, str]()
    for why, order in orders.items():
        chosen.update(dict.fromkeys([one for one in ids[order] if one not in chosen][:each], why))
    return list(chosen.items())


def largest_false_positive(scores: pd.DataFrame) -> str | None:
    """The case without foreground in which most is predicted; None where there is no such case."""
    found = scores[(scores["n_true"] == 0) & (scores["n_pred"] > 0)]
    return None if found.empty else str(found["case_id"].iloc[int(found["n_pred"].to_numpy().argmax())])


def evenly(count: int, places: int) -> np.ndarray:
    """Places of at most so many of ``count`` rows, evenly spread from the first to the last."""
    return np.unique(np.linspace(0, count - 1, min(places, count)).round().astype(int))
