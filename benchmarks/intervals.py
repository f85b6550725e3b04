"""How long the intervals of a whole leaderboard take: 50 rows of 3,500 patients, AUC and Dice."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
from record import Measurement, record

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from heldout.metrics import intervals

ROWS = 50
CASES = 3_500  # the training part of FracAtlas
SECONDS = 10.0


def rows(cases: int) -> list[pd.DataFrame]:
    """Tables of as many models on the same cases, one patient each, a sixth of them positive."""
    random = np.random.default_rng(0)
    positive = random.random(cases) < 1 / 6
    lesion = np.where(positive, random.integers(50, 5000, cases), 0)
    found = []
    for _ in range(ROWS):
        hit = (lesion * random.random(cases)).astype(int)
        extra = np.where(random.random(cases) < 0.2, random.integers(1, 500, cases), 0)
        table = pd.DataFrame({"case_id": [f"case{i}" for i in range(cases)], "y_a": positive.astype(float)})
        table["patient_id"] = table["case_id"]
        table["p_a"] = 1 / (1 + np.exp(-random.normal(2 * positive - 1)))
        found.append(table.assign(tp_a=hit, fp_a=extra, fn_a=lesion - hit))
    return found


def main() -> int:
    """Measure."""
    tables, found = rows(CASES), {}
    for name in ("roc_auc", "dice_pos"):
        start = time.perf_counter()
        intervals(name, tables, ["a"])
        found[name] = time.perf_counter() - start
    what = f"intervals of {{}} for {ROWS} rows of {CASES:,} cases"
    measured = [Measurement(what.format(name), seconds, "s") for name, seconds in found.items()]
    return record("intervals", [*measured, Measurement(what.format("both"), sum(found.values()), "s", SECONDS)])


if __name__ == "__main__":
    sys.exit(main())
