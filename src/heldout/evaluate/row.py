"""A row of the leaderboard: a run or a blend."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from heldout.blend.records import Alternative
from heldout.train.record import RunRecord

Bounds = list[float | None]  # lower and upper


@dataclass(frozen=True)
class Plan:
    """What an experiment asks for.

    Attributes:
        fold_count: Folds of the dataset.
        folds: Those to be trained.
        seeds: Seeds of every fold.
    """

    fold_count: int
    folds: tuple[int, ...]
    seeds: tuple[int, ...]

    def missing(self, done: set[tuple[int, int]]) -> list[tuple[int, int]]:
        """Seed and fold of what a score over all cases would need beside what is done."""
        return [(seed, fold) for seed in self.seeds for fold in range(self.fold_count) if (seed, fold) not in done]


@dataclass(frozen=True)
class Correlation:
    """Agreement of two scores.

    Attributes:
        n: Pairs.
        pearson, spearman: Pearson's coefficient, and that of the ranks, where ties share theirs; None for fewer than
            three pairs or where one of the scores is always the same.
    """

    n: int
    pearson: float | None = None
    spearman: float | None = None


@dataclass
class Row:
    """One experiment's run, or one blend.

    Attributes:
        name: Spec of the run, or name of the blend.
        kind: ``run`` or ``blend``.
        title: Title of the experiment, or the members of the blend.
        parent: Experiment it differs from, or None.
        changed: The fields and hooks in which it differs from its parent.
        budget: Name of the budget, or None for the experiment without a budget.
        scaled: What the budget changes.
        dataset: Name of the dataset.
        data_hash: Hash of the cases and parts; scores of different hashes are ranked apart.
        fold_hash: Hash of the fold table.
        metric: Name of the score.
        higher_is_better: Direction of the score.
        score: Out-of-fold score by which the row is ranked, at cross-fitted thresholds where the score depends on
            thresholds; None while it cannot be computed.
        threshold: How masks and predicted labels are made for ``score``: ``cross-fitted``, ``at one half`` (nothing to
            tune the thresholds on), ``no threshold``, or empty while there is no score.
        at_half: Of a run whose thresholds were cross-fitted, the same score at a threshold of one half; else None.
        low, high: 95 % interval over patients.
        by_class: Score of each class, where there are several.
        also: Values of other metrics; those that need whole masks are at one half.
        also_bounds: 95 % intervals over patients of the calibration errors in ``also``.
        in_sample: Score of a blend on the very predictions it was tuned on; None where nothing was tuned.
        optimism: How much better in-sample is than cross-fitted.
        baselines: Of a blend, the scores of its single members and of simpler weightings.
        fold_scores: The same score of each fold alone, of a blend under the settings tuned on the other folds.
        seed_scores: Score over all finished folds of each seed that finished them; empty for a single seed.
        fold_spread: Sample standard deviation of ``fold_scores``; None where seeds differ between folds.
        seed_spread: Sample standard deviation of ``seed_scores``.
        cases, patients: How many the score is computed from.
        done, planned: Fits (folds x seeds) finished and asked for.
        missing: Seed and fold of the fits that a complete run lacks; of a blend, those its members lacked.
        complete: Whether every planned seed held out every fold, so that the score covers all cases alike.
        checkpoint: ``last``, or ``best`` where the fold's own score chose it.
        sealed: Whether a blend is frozen.
        seconds: Training time of all its fits.
        parameters: Of one network.
        test_score: Score of the last test evaluation, None before the first.
        test_low, test_high: Its 95 % interval.
        test_evals: Test evaluations of the decision as it is now.
        test_evals_by_name: The same, earlier versions under this name included.
        dataset_test_evals: Test evaluations of any decision on a test part of this dataset.
        submission: The submission file, as a path below the home; None where there is none.
        public, private: Scores that the competition showed for the current version.
        public_outdated: Whether scores were noted for an earlier version only; those are not shown.
        public_time: When the last one was noted, UTC.
        public_note: What was noted with it.
        lb_correlation: Agreement of out-of-fold and ``public`` (``private``) scores over the ranked rows of one
            dataset and metric.
        identity: By which the ledger knows it; changes with any of its parts.
        note: What is missing, and why.
        fits: The run records it is computed from.
        plan: What the experiment asks for; None for blends.
    """

    name: str
    kind: str
    title: str
    dataset: str = ""
    metric: str = ""
    parent: str | None = None
    changed: list[str] = field(default_factory=list)
    budget: str | None = None
    scaled: list[str] = field(default_factory=list)
    data_hash: str = ""
    fold_hash: str = ""
    higher_is_better: bool = True
    score: float | None = None
    threshold: str = ""
    at_half: float | None = None
    low: float | None = None
    high: float | None = None
    by_class: dict[str, float] = field(default_factory=dict)
    also: dict[str, float] = field(default_factory=dict)
    also_bounds: dict[str, Bounds] = field(default_factory=dict)
    in_sample: float | None = None
    optimism: float | None = None
    baselines: dict[str, Alternative] = field(default_factory=dict)
    fold_scores: dict[int, float | None] = field(default_factory=dict)
    seed_scores: dict[int, float | None] = field(default_factory=dict)
    fold_spread: float | None = None
    seed_spread: float | None = None
    cases: int | None = None
    patients: int | None = None
    done: int = 0
    planned: int = 0
    missing: list[tuple[int, int]] = field(default_factory=list)
    complete: bool = False
    checkpoint: str = "last"
    sealed: bool | None = None
    seconds: float = 0.0
    parameters: int | None = None
    test_score: float | None = None
    test_low: float | None = None
    test_high: float | None = None
    test_evals: int = 0
    test_evals_by_name: int = 0
    dataset_test_evals: int = 0
    submission: str | None = None
    public: float | None = None
    private: float | None = None
    public_outdated: bool = False
    public_time: str | None = None
    public_note: str | None = None
    lb_correlation: dict[str, Correlation] = field(default_factory=dict)
    identity: str = ""
    note: str = ""
    fits: list[RunRecord] = field(default_factory=list, repr=False)
    plan: Plan | None = field(default=None, repr=False)

    @property
    def folds(self) -> tuple[int, ...]:
        """Folds with a finished fit, of a blend those it was scored on."""
        return tuple(sorted({fit.fold for fit in self.fits}) or sorted(self.fold_scores))

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionary, for JSON; of the fits only seed, fold, score and training time."""
        kept = ("seed", "fold", "score", "train_seconds")
        fits = [{key: getattr(fit, key) for key in kept} for fit in self.fits]
        baselines = {name: one.to_json() for name, one in self.baselines.items()}
        return {**asdict(replace(self, fits=[], plan=None)), "baselines": baselines, "fits": fits}


def groups(rows: list[Row]) -> dict[tuple[str, str, str], list[Row]]:
    """Rows whose scores compare: same dataset, same cases and same metric."""
    found: dict[tuple[str, str, str], list[Row]] = defaultdict(list)
    for row in rows:
        found[row.dataset, row.metric, row.data_hash].append(row)
    return dict(found)


def ranked(row: Row) -> bool:
    """Whether a row takes part in the ranking: full budget, and every case predicted while held out."""
    return row.budget is None and row.complete and row.score is not None


def split(rows: list[Row]) -> tuple[list[Row], list[Row]]:
    """Ranked rows and the others."""
    return [row for row in rows if ranked(row)], [row for row in rows if not ranked(row)]


def order(row: Row) -> tuple[Any, ...]:
    """Sort key: by group, ranked before others, best first; rows of which nothing is known come last."""
    score = float("-inf") if row.score is None else row.score * (1 if row.higher_is_better else -1)
    return not row.dataset, row.dataset, row.metric, row.data_hash, not ranked(row), -score, row.name
