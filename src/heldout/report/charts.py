"""Charts of probabilities and of uncertainty that are files of their own, and parts of reports."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from heldout import files
from heldout.evaluate.uncertainty import ALL, METHODS, Assessment
from heldout.metrics.uncertainty import risk_coverage
from heldout.report.svg import Line, line_chart, standalone

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
            truth = table[f"y_{name}"].to_numpy(float) > 0
            curve = reliability_curve(truth, table[f"{column}_{name}"].to_numpy(float))
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
