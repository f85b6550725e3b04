"""Reliability diagrams: what probabilities say beside what then happens, before and after calibration."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from heldout.report.figures import CLASS_COLOURS, INK, PANEL_INCHES, PAPER, finish_figure

if TYPE_CHECKING:
    import pandas as pd

    from heldout.blend.decision import Decision


def draw_reliability(decision: Decision) -> Path | None:
    """Draw the case scores of a blend: in-sample on the left, cross-fitted on the right, before and after.

    Returns:
        ``reliability.png`` in the blend's folder; None for a decision that does not calibrate.
    """
    if not decision.calibration:
        return None
    from matplotlib.figure import Figure

    from heldout.predict.store import read_table

    tables = {"in-sample": "in_sample", "cross-fitted": "oof"}
    tables = {title: read_table(decision.folder, name) for title, name in tables.items() if name in decision.tables}
    classes, size = decision.classes, 1.5 * PANEL_INCHES
    figure = Figure(figsize=(len(tables) * size, len(classes) * (size + 0.4) + 0.6), facecolor=PAPER)
    axes = figure.subplots(len(classes), len(tables), squeeze=False, sharex=True, sharey=True)
    for row, name in zip(axes, classes, strict=True):
        for axis, (title, table) in zip(row, tables.items(), strict=True):
            _draw(axis, table, name)
            axis.set_title(f"{name}, {title}", color=INK, fontsize=10)
    for axis in axes[-1]:
        axis.set_xlabel("stated probability", color=INK, fontsize=9)
    for axis in axes[:, 0]:
        axis.set_ylabel("observed frequency", color=INK, fontsize=9)
    path = decision.folder / "reliability.png"
    finish_figure(figure, f"{decision.name}: {decision.calibration['method']} calibration", path)
    return path


def _draw(axis: object, table: pd.DataFrame, name: str) -> None:
    """The diagonal of honest probabilities, and two curves; a dot's area is the number of its cases."""
    from heldout.metrics.calibration import reliability_curve

    axis.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle=":")
    truth = table[f"y_{name}"].to_numpy(float) > 0
    for column, label, colour in (("uncalibrated", "before", CLASS_COLOURS[1]), ("p", "after", CLASS_COLOURS[0])):
        curve = reliability_curve(truth, table[f"{column}_{name}"].to_numpy(float))
        axis.plot(curve.stated, curve.observed, color=colour, linewidth=1.4, label=label)
        axis.scatter(curve.stated, curve.observed, s=12 + 250 * curve.cases / len(table), color=colour, alpha=0.6)
    axis.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), aspect="equal", facecolor=PAPER)
    axis.tick_params(colors=INK, labelsize=8)
    for spine in axis.spines.values():
        spine.set_color(INK)
    axis.legend(frameon=False, labelcolor=INK, fontsize=8, loc="upper left")
