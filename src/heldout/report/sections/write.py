"""A report as one self-contained HTML page, and as Markdown with a folder of figures."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from markupsafe import Markup

from heldout import files
from heldout.errors import UserError
from heldout.evaluate.collect import open_row
from heldout.evaluate.held_out import HeldOut
from heldout.report.sections.blocks import Block, FigureBlock, Heading, Section, TableBlock, Text
from heldout.report.sections.cases import failure_blocks, overlay_blocks
from heldout.report.sections.labels import label_blocks
from heldout.report.sections.numbers import number_blocks
from heldout.report.sections.overview import claim, facts, overview
from heldout.report.sections.scores import curve_blocks, depth_blocks, fit_blocks, overlap_blocks, score_blocks
from heldout.report.svg import standalone
from heldout.report.templates import render

LONGEST_NAME = 120
PARTS = (
    *(facts, score_blocks, fit_blocks, overlap_blocks, curve_blocks, label_blocks),
    *(overlay_blocks, depth_blocks, failure_blocks),
)
SLIDES = (facts, score_blocks, curve_blocks, overlay_blocks)


PARTS_OF_NUMBERS = (facts, score_blocks, fit_blocks, number_blocks, curve_blocks, overlay_blocks)


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
    if repeated := [name for name in names if list(names).count(name) > 1]:
        raise UserError(f"{repeated[0]} is named twice: name every run or blend of a report once")
    folder = files.home() / "working" / "reports" / report_name(names, title)
    subjects = [open_row(name) for name in names]
    sections = [overview(subjects), *(_section(subject) for subject in subjects)]
    heading = f"Report on {', '.join(names)}"
    datasets = ", ".join(dict.fromkeys(subject.row.dataset for subject in subjects))
    summary = f"{datasets}, written {time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime())}"
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


def write_slides(names: Sequence[str], title: str | None = None) -> Path:
    """The same as a deck of slides in one HTML file: a slide for each part, without long tables of cases.

    Returns:
        ``working/reports/<title>/slides.html``.

    Raises:
        UserError: as :func:`write_report`.
    """
    folder = files.home() / "working" / "reports" / report_name(names, title)
    subjects = [open_row(name) for name in names]
    sections = [overview(subjects)]
    sections += [Section(s.name, [block for part in SLIDES for block in part(s)]) for s in subjects]
    heading = f"Report on {', '.join(names)}"
    slides = [slide for section in sections for slide in _slides(section)]
    page = to_html(
        heading, ", ".join(dict.fromkeys(s.row.dataset for s in subjects)), claim(subjects), slides, "slides.html"
    )
    files.write_text(folder / "slides.html", page)
    return folder / "slides.html"


def _slides(section: Section) -> list[Section]:
    """A slide for each heading of a section, with a figure or a table on each."""
    title, found = section.title, [Section(section.title)]
    for block in section.blocks:
        if isinstance(block, Heading):
            title = f"{section.title}: {block.text}"
        if isinstance(block, Heading) or (
            not isinstance(block, Text) and any(not isinstance(b, Text) for b in found[-1].blocks)
        ):
            found.append(Section(title))
        if not isinstance(block, Heading):
            found[-1].blocks.append(block)
    return [slide for slide in found if slide.blocks]


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
    parts = PARTS_OF_NUMBERS if subject.kind == "regression" else PARTS
    return Section(subject.name, [block for part in parts for block in part(subject)])


def to_html(title: str, summary: str, claim: str, sections: Sequence[Section], template: str = "report.html") -> str:
    """The page, with every figure inside; figures in a row are placed side by side as far as they fit."""
    return render(
        template,
        title=title,
        summary=summary,
        claim=claim,
        sections=sections,
        groups=lambda blocks: [(kind, list(chosen)) for kind, chosen in groupby(blocks, _kind)],
        kind=_name,
        align=_align,
        content=_content,
    )


def to_markdown(title: str, summary: str, claim: str, sections: Sequence[Section]) -> tuple[str, dict[str, bytes]]:
    """The text, and the figures that it shows by file name."""
    figures: dict[str, bytes] = {}

    def keep(figure: FigureBlock, index: int) -> str:
        content, stem = figure.content, figure_name(f"{index}_{figure.name}")
        if isinstance(content, str):
            name, figures[f"{stem}.svg"] = f"{stem}.svg", standalone([content]).encode()
        else:
            name, figures[f"{stem}.png"] = f"{stem}.png", content
        return name

    text = render("report.md", title=title, summary=summary, claim=claim, sections=sections, kind=_name, keep=keep)
    return text, figures


def figure_name(text: str) -> str:
    """A text as part of a file's name and of a link."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text)


def _name(block: Block) -> str:
    """By which the templates tell blocks apart: ``TableBlock``."""
    return type(block).__name__


def _kind(block: Block) -> str:
    if not isinstance(block, FigureBlock):
        return ""
    return "charts" if isinstance(block.content, str) else "overlays"


def _content(figure: FigureBlock) -> str:
    """A chart as part of a page, or the bytes of a PNG as text."""
    found = figure.content
    return Markup(found) if isinstance(found, str) else base64.b64encode(found).decode()


def _align(block: TableBlock, column: int) -> str:
    """Class of a column: figures are aligned right, words left; long ones may break."""
    cells = [row[column] for row in block.rows if row[column] not in ("", "-")]
    words = [cell for cell in cells if not re.match(r"^[+\-\[]?\d", cell)]
    if column and not words:
        return ""
    return "text wide" if any(len(cell) > 28 for cell in cells) else "text"
