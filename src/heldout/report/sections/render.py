"""A report as one self-contained HTML page, and as Markdown with a folder of figures."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from html import escape
from itertools import groupby
from pathlib import Path
from string import Template

from heldout.report.sections.blocks import Block, Heading, Picture, Section, Table, Text
from heldout.report.style import STYLE, THEME, standalone

_TEMPLATE = Path(__file__).with_name("page.html")


def to_html(title: str, summary: str, claim: str, sections: Sequence[Section]) -> str:
    """The page; every text is escaped, every picture inside."""
    body = [
        f'<section aria-labelledby="part{index}"><h2 id="part{index}">{escape(section.title)}</h2>'
        f"{_blocks_html(section.blocks)}</section>"
        for index, section in enumerate(sections)
    ]
    links = [f'<li><a href="#part{index}">{escape(section.title)}</a></li>' for index, section in enumerate(sections)]
    return Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        title=escape(title),
        summary=escape(summary),
        claim=escape(claim),
        contents="".join(links),
        body="\n".join(body),
        style=STYLE,
        theme=THEME,
    )


def to_markdown(title: str, summary: str, claim: str, sections: Sequence[Section]) -> tuple[str, dict[str, bytes]]:
    """The text, and the figures that it shows by file name."""
    lines, figures = [f"# {title}", "", summary, "", f"> {claim}", ""], {}
    for index, section in enumerate(sections):
        lines += [f"## {_plain(section.title)}", ""]
        for block in section.blocks:
            if isinstance(block, Picture):
                name = f"{figure_name(f'{index}_{block.name}')}.{'svg' if isinstance(block.content, str) else 'png'}"
                content = block.content
                figures[name] = standalone(content).encode() if isinstance(content, str) else content
            lines += _markdown(block, name if isinstance(block, Picture) else "")
    return "\n".join(lines), figures


def figure_name(text: str) -> str:
    """A text as part of a file's name and of a link."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text)


def _blocks_html(blocks: Sequence[Block]) -> str:
    """Blocks one after another; pictures in a row stand side by side as far as they fit."""
    parts = []
    for kind, chosen in groupby(blocks, _kind):
        inner = "".join(_html(block) for block in chosen)
        parts.append(f'<div class="{kind}">{inner}</div>' if kind else inner)
    return "\n".join(parts)


def _kind(block: Block) -> str:
    if not isinstance(block, Picture):
        return ""
    return "pictures" if isinstance(block.content, str) else "overlays"


def _html(block: Block) -> str:
    if isinstance(block, Heading):
        return f"<h3>{escape(block.text)}</h3>"
    if isinstance(block, Text):
        return f"<p>{escape(block.text)}</p>"
    if isinstance(block, Picture):
        caption = f"<figcaption>{escape(block.caption)}</figcaption>"
        if isinstance(block.content, str):
            return f"<figure>{block.content}{caption}</figure>"
        data = base64.b64encode(block.content).decode()
        return f'<figure><img alt="{escape(block.caption)}" src="data:image/png;base64,{data}">{caption}</figure>'
    head = "".join(f'<th scope="col"{_align(block, k)}>{escape(name)}</th>' for k, name in enumerate(block.columns))
    rows = [
        f'<tr><th scope="row">{escape(row[0])}</th>'
        + "".join(f"<td{_align(block, k)}>{escape(cell)}</td>" for k, cell in enumerate(row[1:], start=1))
        + "</tr>"
        for row in block.rows
    ]
    name = escape(block.caption or block.columns[0])
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{name}"><table class="plain">'
        f"<caption>{escape(block.caption)}</caption><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody>"
        "</table></div>"
    )


def _align(block: Table, column: int) -> str:
    """Figures stand to the right, words to the left; long ones may break."""
    cells = [row[column] for row in block.rows if row[column] not in ("", "-")]
    words = [cell for cell in cells if not re.match(r"^[+\-\[]?\d", cell)]
    if column and not words:
        return ""
    return ' class="text wide"' if any(len(cell) > 28 for cell in cells) else ' class="text"'


def _markdown(block: Block, figure: str) -> list[str]:
    if isinstance(block, Heading):
        return [f"### {_plain(block.text)}", ""]
    if isinstance(block, Text):
        return [_plain(block.text), ""]
    if isinstance(block, Picture):
        caption = _plain(block.caption)
        return [f"![{caption.replace('[', '(').replace(']', ')')}](figures/{figure})", "", f"*{caption}*", ""]
    head = [f"*{_plain(block.caption)}*", ""] if block.caption else []
    rows = [f"| {' | '.join(_plain(cell) for cell in row)} |" for row in block.rows]
    return [*head, f"| {' | '.join(block.columns)} |", "|" + "---|" * len(block.columns), *rows, ""]


def _plain(text: str) -> str:
    """Text that can neither break a table nor be taken for markup."""
    safe = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([|*_`])", r"\\\1", safe)
