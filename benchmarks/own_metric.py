"""A user's own metric against the built-in one: 10,000 bootstraps of 1,000 patients, the same values."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from record import Measurement, record

import exps
from heldout.metrics import get_metric
from heldout.metrics.metric import Metric
from heldout.metrics.tables import Columns

PATIENTS, DRAWS, TIMES, SAME = 1_000, 10_000, 10.0, 1e-9
FILE = """
import heldout as ho
import numpy as np

@ho.metric(higher_is_better=True)
def simple(cases):
    y, p = cases.truth[:, 0], cases.probability[:, 0]
    ranked = y[np.argsort(p)]
    below = np.cumsum(~ranked)
    return below[ranked].sum() / (np.count_nonzero(y) * below[-1])

@ho.metric(higher_is_better=True)
def weighted(cases, weights):
    order = np.argsort(cases.probability[:, 0])
    y, w = cases.truth[order, 0], weights[:, order]
    below = np.cumsum(w * ~y, 1)
    return (w * y * below).sum(1) / ((w * y).sum(1) * below[:, -1])
"""


def timed(metric: Metric, columns: Columns, weights: np.ndarray) -> tuple[np.ndarray, float]:
    """Values of all draws, and the fewest seconds of three runs; the first call, which checks the function, apart."""
    metric.evaluate(columns, weights[:1])
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        values = metric.evaluate(columns, weights)
        seconds.append(time.perf_counter() - start)
    return values, min(seconds)


def main() -> int:
    """Measure."""
    random = np.random.default_rng(0)
    truth = random.random(PATIENTS) < 0.3
    probability = 1 / (1 + np.exp(-random.normal(2.0 * truth - 1)))  # without ties
    columns = Columns(truth[:, None], probability[:, None], probability[:, None] >= 0.5, None, False, ("a",))
    weights = random.multinomial(PATIENTS, np.full(PATIENTS, 1 / PATIENTS), DRAWS).astype(float)
    with tempfile.TemporaryDirectory() as folder:
        exps.__path__.append(folder)
        Path(folder, "metrics.py").write_text(FILE, encoding="utf-8")
        expected, built_in = timed(get_metric("roc_auc"), columns, weights)
        measured = [Measurement("built-in roc_auc", built_in, "s")]
        for name, form in (("simple", "f(cases)"), ("weighted", "f(cases, weights)")):
            values, seconds = timed(get_metric(name), columns, weights)
            apart = float(np.abs(values - expected).max())
            measured += [
                Measurement(f"own AUC, {form}", seconds, "s"),
                Measurement(f"own AUC, {form}, against the built-in one", seconds / built_in, "times", TIMES),
                Measurement(f"own AUC, {form}, largest difference of a draw", apart, "", SAME),
            ]
    return record("own_metric", measured)


if __name__ == "__main__":
    sys.exit(main())
