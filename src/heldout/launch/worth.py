"""What one more fit of an experiment may gain, and how long it takes, from the fits there are. Free of torch.

The gain of an experiment is the mean over its finished fits of score minus the best score that any other experiment
reached on the same fold, not below 0. Divided by the mean training time of a fit it is the expected gain of an hour.
An experiment without a finished fit comes first, as one fit tells more than any estimate; then one that nothing can be
compared with.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from dataclasses import dataclass
from statistics import fmean

from heldout.errors import UserError
from heldout.train import runs
from heldout.train.record import RunRecord

FoldKey = tuple[str, str, str, int]  # hashes of cases and folds, metric, fold


@dataclass(frozen=True)
class Worth:
    """What is known of an experiment's fits.

    Attributes:
        fits: How many are finished.
        minutes: Mean training time of a fit; None before the first.
        gain_per_hour: Expected gain; None where there is nothing to tell it from.
    """

    fits: int = 0
    minutes: float | None = None
    gain_per_hour: float | None = None

    @property
    def rank(self) -> tuple[int, float]:
        """Sorts what is to be trained first to the front."""
        if self.gain_per_hour is None:
            return min(self.fits, 1), 0.0
        return 2, -self.gain_per_hour


class Worths:
    """Worth of experiments by the fits that are finished now."""

    def __init__(self) -> None:
        self._records: dict[str, list[RunRecord]] = {}
        for folder in runs.run_folders():
            with contextlib.suppress(UserError):  # a damaged run is named by the leaderboard
                if (info := runs.read_info(folder)) is not None:
                    self._records[info.spec] = [fit.record for fit in info.fits]
        self._best: dict[FoldKey, dict[str, float]] = defaultdict(dict)
        for spec, records in self._records.items():
            scores: dict[FoldKey, list[float]] = defaultdict(list)
            for record in records:
                if record.score is not None:
                    scores[_fold_key(record)].append(float(record.score))
            for key, values in scores.items():
                self._best[key][spec] = fmean(values)

    def of(self, spec: str) -> Worth:
        """What is known of an experiment."""
        records = self._records.get(spec, [])
        if not records:
            return Worth()
        hours = fmean(float(record.train_seconds) for record in records) / 3600
        gains = [self._gain(spec, _fold_key(record)) for record in records if record.score is not None]
        known = [gain for gain in gains if gain is not None]
        if not known or hours == 0:
            return Worth(len(records), 60 * hours)
        return Worth(len(records), 60 * hours, max(0.0, fmean(known)) / hours)

    def _gain(self, spec: str, key: FoldKey) -> float | None:
        from heldout.metrics.registry import get_metric

        others = [score for other, score in self._best[key].items() if other != spec]
        if not others:
            return None
        own = self._best[key][spec]
        return own - max(others) if get_metric(key[2]).higher_is_better else min(others) - own


def _fold_key(record: RunRecord) -> FoldKey:
    return record.data_hash, record.fold_hash, record.metric, record.fold
