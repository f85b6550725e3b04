"""The part of a report about a regression: predicted against true numbers, and the largest errors."""

from __future__ import annotations

import numpy as np

from heldout.evaluate.cases import MOST_FAILURES
from heldout.evaluate.held_out import HeldOut
from heldout.report.sections.blocks import Block, FigureBlock, Heading, TableBlock
from heldout.report.svg import Line, line_chart


def number_blocks(subject: HeldOut) -> list[Block]:
    """Predicted against true, errors against true (Bland and Altman 1986), and a table of the largest errors."""
    blocks: list[Block] = [Heading("Predicted and true numbers")]
    for name in subject.classes:
        true, predicted = (subject.table[f"{kind}_{name}"].to_numpy(float) for kind in "yp")
        span = (float(min(true.min(), predicted.min())), float(max(true.max(), predicted.max())))
        error = predicted - true
        middle, spread = float(error.mean()), 1.96 * float(error.std(ddof=1))
        points = _points(name, true, predicted)
        chart = line_chart(
            [points],
            f"{name} of {subject.name}",
            f"true {name}",
            f"predicted {name}",
            spans=(span, span),
            diagonal=True,
        )
        limits = [
            Line(f"{text} {value:.3g}", [(span[0], value), (span[1], value)], 1, dashed=dashed)
            for text, value, dashed in (
                ("mean", middle, False),
                ("mean - 1.96 SD", middle - spread, True),
                ("mean + 1.96 SD", middle + spread, True),
            )
        ]
        errors = line_chart(
            [_points(name, true, error), *limits], f"errors of {subject.name}", f"true {name}", "predicted - true"
        )
        blocks.append(FigureBlock(f"predicted_{name}", chart, f"Predicted against true {name}; dotted: equal."))
        blocks.append(
            FigureBlock(f"errors_{name}", errors, f"Error of {name} against its true value, with 95 % limits.")
        )
        worst = subject.table.assign(error=error).reindex(np.argsort(-np.abs(error), kind="stable")[:MOST_FAILURES])
        rows = [
            (one.case_id, one.patient_id, str(one.fold), f"{y:.4g}", f"{p:.4g}", f"{one.error:+.4g}")
            for one, y, p in zip(worst.itertuples(), worst[f"y_{name}"], worst[f"p_{name}"], strict=True)
        ]
        columns = ("case", "patient", "fold", f"true {name}", f"predicted {name}", "error")
        blocks.append(TableBlock(columns, rows, f"Largest errors of {name}"))
    return blocks


def _points(name: str, x: np.ndarray, y: np.ndarray) -> Line:
    return Line(name, list(zip(x, y, strict=True)), 0, [2.5] * len(x), joined=False)
