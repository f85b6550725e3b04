"""A table as text for other programs: LaTeX, CSV or Markdown."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from heldout.escape import latex, markdown, spreadsheet


def table_text(form: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    r"""Write a table.

    Args:
        form: ``latex`` (booktabs), ``csv`` or ``md``.
        columns: Headings.
        rows: Cells, as they are shown elsewhere.

    Example:
        >>> print(table_text("md", ["name", "dice"], [["a|b", "0.81"]]), end="")
        | name | dice |
        |---|---|
        | a\|b | 0.81 |
    """
    if form == "latex":
        return latex_table(columns, rows)
    if form == "csv":
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(
            [[spreadsheet(cell) for cell in row] for row in (columns, *rows)]
        )
        return text.getvalue()
    lines = ["| " + " | ".join(map(markdown, row)) + " |" for row in (columns, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(columns), *lines[1:]]) + "\n"


def latex_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table for LaTeX with the package booktabs: words are aligned left, figures right."""
    import pandas as pd

    frame = pd.DataFrame([[latex(cell) for cell in row] for row in rows], columns=range(len(columns)), dtype=object)
    align = "".join("r" if _are_figures([row[k] for row in rows]) else "l" for k in range(len(columns)))
    heads = [latex(column).replace("{", "{{").replace("}", "}}") for column in columns]  # pandas formats them once more
    return frame.to_latex(index=False, header=heads, escape=False, column_format=align)


def _are_figures(cells: Sequence[str]) -> bool:
    known = [cell for cell in cells if cell not in ("", "-")]
    return bool(known) and all(cell[0].isdigit() or cell[0] in "+-[." for cell in known)
