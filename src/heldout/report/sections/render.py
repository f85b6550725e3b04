"""A report as one self-contained HTML page, and as Markdown with a folder of figures."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from itertools import groupby

from markupsafe import Markup

from heldout.report.sections.blocks import Block, Picture, Section, Table
from heldout.report.templates import render, standalone


def to_html(title: str, summary: str, claim: str, sections: Sequence[Section]) -> str:
    """The page, with every picture inside; pictures in a row stand side by side as far as they fit."""
    return render(
        "report.html",
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

    def keep(picture: Picture, index: int) -> str:
        content, stem = picture.content, figure_name(f"{index}_{picture.name}")
        if isinstance(content, str):
            name, figures[f"{stem}.svg"] = f"{stem}.svg", standalone(content).encode()
        else:
            name, figures[f"{stem}.png"] = f"{stem}.png", content
        return name

    text = render("report.md", title=title, summary=summary, claim=claim, sections=sections, kind=_name, keep=keep)
    return text, figures


def figure_name(text: str) -> str:
    """A text as part of a file's name and of a link."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text)


def _name(block: Block) -> str:
    """By which the templates tell blocks apart: ``Table``."""
    return type(block).__name__


def _kind(block: Block) -> str:
    if not isinstance(block, Picture):
        return ""
    return "pictures" if isinstance(block.content, str) else "overlays"


def _content(picture: Picture) -> Markup:
    """A picture as part of a page."""
    if isinstance(picture.content, str):
        return Markup(picture.content)
    data = base64.b64encode(picture.content).decode()
    return Markup('<img alt="{}" src="data:image/png;base64,{}">').format(picture.caption, data)


def _align(block: Table, column: int) -> str:
    """Class of a column: figures stand to the right, words to the left; long ones may break."""
    cells = [row[column] for row in block.rows if row[column] not in ("", "-")]
    words = [cell for cell in cells if not re.match(r"^[+\-\[]?\d", cell)]
    if column and not words:
        return ""
    return "text wide" if any(len(cell) > 28 for cell in cells) else "text"
