"""What a report consists of, written once and rendered as HTML and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class TableBlock:
    """A table; the first column names the row, the others hold text or figures as they are to be shown."""

    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    caption: str = ""


@dataclass(frozen=True)
class FigureBlock:
    """A figure: an ``<svg>`` text that takes its colors from the style sheet, or the bytes of a PNG.

    Attributes:
        name: File name in the Markdown's ``figures`` folder, without ending; unique in a report.
        content: SVG text or PNG bytes.
        caption: What it shows.
    """

    name: str
    content: str | bytes
    caption: str


@dataclass(frozen=True)
class Heading:
    """Title of the blocks that follow, below the section's own."""

    text: str


Block = Text | TableBlock | FigureBlock | Heading


@dataclass(frozen=True)
class Section:
    """A part of the report with a title of its own."""

    title: str
    blocks: list[Block] = field(default_factory=list)
