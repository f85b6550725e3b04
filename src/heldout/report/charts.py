"""Charts of probabilities and of uncertainty that are files of their own, and parts of reports."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from heldout import files
from heldout.evaluate.uncertainty import ALL, METHODS, Assessment
from heldout.metrics.registry import get_metric
from heldout.metrics.uncertainty import risk_coverage
from heldout.report.archive import ResultRecord, results_folder
from heldout.report.svg import COLORS, Line, line_chart, standalone

if TYPE_CHECKING:
    import pandas as pd

    from heldout.blend.decision import Decision

UNIT = (0.0, 1.0)


def reliability_chart(table: pd.DataFrame, classes: Sequence[str], title: str, where: str = "") -> str:
    """How often what is stated happens, a curve for each class; dashed before a calibration.

    Args:
        table: A row per case.
        classes: Classes to draw.
        title: Said to those who cannot see it.
        where: What the horizontal axis says of the predictions.
    """
    from heldout.metrics.calibration import reliability_curve

    lines = []
    for k, name in enumerate(classes):
        for column, how in (("uncalibrated", "before calibration"), ("p", "")):
            if f"{column}_{name}" not in table:
                continue
            rows = table[table[f"y_{name}"].notna()]  # of which the class is known
            truth = rows[f"y_{name}"].to_numpy(float) > 0
            curve = reliability_curve(truth, rows[f"{column}_{name}"].to_numpy(float))
            sizes = 2.5 + 14 * np.sqrt(curve.cases / len(truth))
            points = list(zip(curve.stated, curve.observed, strict=True))
            lines.append(Line(f"{name} {how}".strip(), points, k, list(sizes), dashed=bool(how)))
    stated = f"stated probability{where}"
    return line_chart(lines, title, stated, "observed share", spans=(UNIT, UNIT), diagonal=True, width=400)


def write_reliability(decision: Decision) -> Path | None:
    """Draw the case scores of a blend, in-sample and cross-fitted, before and after calibration.

    Returns:
        ``reliability.svg`` in the blend's folder; None for a decision that does not calibrate probabilities.
    """
    if not decision.calibration or decision.kind == "regression":
        return None
    from heldout.predict.store import read_table

    title = f"{decision.name}: {decision.calibration.method} calibration"
    charts = [
        reliability_chart(read_table(decision.folder, name), decision.classes, title, where)
        for name, where in (("in_sample", ", in-sample"), ("oof", ", cross-fitted"))
        if name in decision.tables
    ]
    path = decision.folder / "reliability.svg"
    files.write_text(path, standalone(charts))
    return path


def write_risk_coverage(found: Assessment) -> Path:
    """Draw risk-coverage curves of every method's entropy, beside the oracle, as ``risk_coverage.svg``."""
    lines = []
    for k, (method, rows) in enumerate(found.table.groupby("method", sort=False)):
        area = next(
            row.aurc for row in found.record.rows if (row.method, row.measure, row.stratum) == (method, "entropy", ALL)
        )
        curve = risk_coverage(rows["entropy"].to_numpy(), rows["loss"].to_numpy())
        lines.append(Line(f"{METHODS[str(method)]}: AURC {area:.3f}", list(zip(*curve, strict=True)), k))
    loss = found.table.drop_duplicates("case_id")["loss"].to_numpy()
    lines.append(Line("oracle", list(zip(*risk_coverage(loss, loss), strict=True)), 5, dashed=True))
    lines.append(Line("random ranking", [(0, loss.mean()), (1, loss.mean())], 3, dashed=True))
    across = "fraction of cases kept, the most certain first"
    title = f"Risk and coverage of {found.folder.name}, out-of-fold"
    path = found.folder / "risk_coverage.svg"
    files.write_text(path, standalone([line_chart(lines, title, across, "mean loss", spans=(UNIT, (0, 0)), width=620)]))
    return path


def write_costs(dataset: str, metric: str, records: Sequence[ResultRecord]) -> Path | None:
    """Draw the scores of a dataset against core-hours of training; named are those that no cheaper one reaches.

    Args:
        dataset: Its name.
        metric: Of all the records.
        records: What was scored; those of unknown cost are left out.

    Returns:
        ``DATASET-METRIC.svg`` beside the records; None where fewer than two costs are known.
    """
    known = [(cost, one.score, one) for one in records if (cost := one.core_hours) and one.score is not None]
    if len(known) < 2:
        return None
    sign = 1 if get_metric(metric).higher_is_better else -1
    best: list[tuple[float, float, ResultRecord]] = []
    for point in sorted(known, key=lambda point: (point[0], -sign * point[1])):
        if not best or sign * (point[1] - best[-1][1]) > 0:
            best.append(point)
    named = best[-COLORS + 1 :]
    others = [(cost, score) for cost, score, one in known if all(one is not shown for _, _, shown in named)]
    steps = [at for before, after in pairwise(best) for at in (before[:2], (after[0], before[1]))] + [best[-1][:2]]
    lines = [
        Line("", steps, COLORS - 1, dashed=True),
        Line("others", others, COLORS - 1, [3] * len(others), joined=False),
    ]
    lines += [
        Line(f"{one.name}: {score:.4f}, {cost:.2g} h", [(cost, score)], k, [5], joined=False)
        for k, (cost, score, one) in enumerate(named)
    ]
    chart = line_chart(
        lines, f"{dataset}: {metric} against core-hours", "core-hours of training", metric, log_x=True, width=620
    )
    path = results_folder() / f"{dataset.strip('/').replace('/', '_')}-{metric.replace(':', '_')}.svg"
    files.write_text(path, standalone([chart]))
    return path
