"""Put a report together and write it: one HTML file, one Markdown file, and the figures of the latter."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from heldout import files
from heldout.errors import UserError
from heldout.evaluate.collect import open_row
from heldout.evaluate.held_out import HeldOut
from heldout.report.sections.blocks import Section
from heldout.report.sections.render import figure_name, to_html, to_markdown

LONGEST_NAME = 120


def write_report(names: Sequence[str], title: str | None = None) -> Path:
    """Report on runs and blends from their held-out predictions.

    Args:
        names: Specs of runs and names of blends.
        title: Name of the report's folder; None joins the names.

    Returns:
        ``working/reports/<title>/report.html``; beside it lie ``report.md`` and ``figures/``.

    Raises:
        UserError: one of them does not exist, has no finished fold, or is named twice.
    """
    from heldout.report.sections.overview import claim, overview

    if repeated := [name for name in names if list(names).count(name) > 1]:
        raise UserError(f"{repeated[0]} is named twice: name every run or blend of a report once")
    folder = files.home() / "working" / "reports" / report_name(names, title)
    subjects = [open_row(name) for name in names]
    sections = [overview(subjects), *(_section(subject) for subject in subjects)]
    heading = f"Report on {', '.join(names)}"
    summary = f"{_datasets(subjects)}, written {time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime())}"
    text, figures = to_markdown(heading, summary, claim(subjects), sections)
    page = to_html(heading, summary, claim(subjects), sections)
    with files.lock(folder, "writing the report"):
        for name, content in figures.items():
            files.write_bytes(folder / "figures" / name, content)
        files.write_text(folder / "report.md", text)
        files.write_text(folder / "report.html", page)
        for path in (folder / "figures").iterdir():  # of an earlier report, shown by nothing any more
            if path.name not in figures:
                path.unlink()
    return folder / "report.html"


def report_name(names: Sequence[str], title: str | None) -> str:
    """Name of a report's folder.

    Raises:
        UserError: the title is not a folder name.
    """
    if title is not None:
        if figure_name(title) != title or title.startswith(".") or len(title) > LONGEST_NAME:
            raise UserError(f"--name {title!r} cannot name a report: use letters, digits, '-', '_' and '.'")
        return title
    joined = "_".join(names)
    return joined if len(joined) <= LONGEST_NAME else f"{joined[:80]}_{files.sha256_json(list(names))[:8]}"


def _section(subject: HeldOut) -> Section:
    from heldout.report.sections.cases import failure_blocks, overlay_blocks
    from heldout.report.sections.labels import label_blocks
    from heldout.report.sections.overview import facts
    from heldout.report.sections.scores import curve_blocks, depth_blocks, fit_blocks, overlap_blocks, score_blocks

    parts = (
        facts,
        score_blocks,
        fit_blocks,
        overlap_blocks,
        curve_blocks,
        label_blocks,
        overlay_blocks,
        depth_blocks,
        failure_blocks,
    )
    return Section(subject.name, [block for part in parts for block in part(subject)])


def _datasets(subjects: Sequence[HeldOut]) -> str:
    return ", ".join(dict.fromkeys(subject.row.dataset for subject in subjects))
