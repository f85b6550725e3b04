"""How values are written, alike in the terminal, in Markdown and on the page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from heldout.evaluate.row import Row

if TYPE_CHECKING:
    from heldout.report.archive import ResultRecord

UNRANKED = "not ranked: a budget, or fits missing"
BEST_CHECKPOINT = "* the checkpoint was chosen by the score of the fold that it is evaluated on: optimistically biased."


def number(value: float | None) -> str:
    """A score with four digits, or a dash."""
    return "-" if value is None else f"{value:.4f}"


def signed(value: float | None) -> str:
    """A difference of scores with its sign, or a dash."""
    return "-" if value is None else f"{value:+.4f}"


def bounds(low: float | None, high: float | None) -> str:
    """An interval: ``[0.790, 0.831]``; empty where it is not known."""
    return "" if low is None or high is None else f"[{low:.3f}, {high:.3f}]"


def interval_text(row: Row, between: str = " ") -> str:
    """Score with its interval: ``0.8123 [0.790, 0.831]``."""
    interval = bounds(row.low, row.high)
    return number(row.score) + (between + interval if interval else "")


def seeds_text(row: Row | ResultRecord) -> str:
    """Score of each seed by itself: ``0.8841, 0.8842 (standard deviation 0.0001)``."""
    return f"{', '.join(map(number, row.seed_scores.values()))} (standard deviation {number(row.seed_spread)})"


def lineage(row: Row) -> str:
    """``exp001 + lr = 0.01``: parent and changes in one line; empty for the first of a family."""
    return " + ".join([row.parent, ", ".join(row.changed) or "nothing changed"]) if row.parent else ""


def folds_text(row: Row) -> str:
    """Score of each fold: ``0.883, 0.861``; with their numbers where some are missing."""
    if not row.fold_scores:
        return "-"
    numbered = list(row.fold_scores) != list(range(len(row.fold_scores))) or len(row.fold_scores) == 1
    values = {fold: "-" if value is None else f"{value:.3f}" for fold, value in row.fold_scores.items()}
    return ", ".join(f"{fold}: {value}" if numbered else value for fold, value in values.items())


def cases_text(row: Row | ResultRecord) -> str:
    """``176 cases of 5 patients``; ``27 cases`` where every case is, or is taken for, a patient of its own."""
    if row.cases is None:
        return "-"
    return f"{row.cases} cases" + ("" if row.cases == row.patients else f" of {row.patients} patients")


def asterisk(row: Row | ResultRecord) -> str:
    """What follows a name where :data:`BEST_CHECKPOINT` applies; empty where it does not."""
    return "*" if row.checkpoint == "best" else ""


def test_evals_text(row: Row | ResultRecord) -> str:
    """``1 test evaluation, 3 of this test part in all``; empty before the first."""
    if not row.test_evals_by_name:
        return ""
    earlier = row.test_evals_by_name - row.test_evals
    here = count(row.test_evals, "test evaluation") + (f" (+ {earlier} of earlier versions)" if earlier else "")
    return f"{here}, {row.dataset_test_evals} of this test part in all"


def count(number: int, what: str) -> str:
    """``1 run``, ``3 runs``."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """``52 s``, ``3.4 min`` or ``7.1 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def parameters(row: Row) -> str:
    """Parameters of one network: ``1.4 M``."""
    return "-" if row.parameters is None else f"{row.parameters / 1e6:.1f} M"


def heading(key: tuple[str, str, str], rows: list[Row]) -> str:
    """Title of a group: ``bones: dice_pos (higher is better)``, the data named where versions differ."""
    dataset, metric, data_hash = key
    if not dataset:
        return "cannot be read"
    versions = {row.data_hash for row in rows if row.dataset == dataset}
    known = [row for row in rows if row.metric == metric]
    arrow = "higher is better" if known[0].higher_is_better else "lower is better"
    return f"{dataset}: {metric} ({arrow}{f', data {data_hash[:8]}' if len(versions) > 1 else ''})"


def agreement_text(members: list[Row], part: str) -> str:
    """How out-of-fold scores agree with those a competition showed, in one sentence; empty where none is noted."""
    found = members[0].lb_correlation.get(part)
    if found is None:
        return ""
    start = f"Out-of-fold against {part} score, {found.n} ranked"
    if found.n < 3:
        return f"{start}: fewer than 3 give no correlation."
    if found.pearson is None or found.spearman is None:
        return f"{start}: no correlation, since one of the scores is the same for all."
    return f"{start}: Pearson {found.pearson:.2f}, Spearman {found.spearman:.2f}."
