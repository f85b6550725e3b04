"""The leaderboard as one self-contained HTML page: sortable, with its pictures inside, and nothing from the network."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template

from heldout import files
from heldout.evaluate.row import Row, groups, split
from heldout.report.format import (
    LEGEND,
    UNRANKED,
    agreement_text,
    bounds,
    checkpoint_text,
    duration,
    fits_text,
    folds_text,
    heading,
    looks_text,
    number,
    parameters,
    signed,
)
from heldout.report.style import STYLE, THEME
from heldout.report.svg import MOST_ROWS, forest, scatter

_TEMPLATE = Path(__file__).with_name("page.html")


@dataclass(frozen=True)
class _Column:
    """A column: its heading, its cell as HTML, what sorts it, and whether large values come first."""

    title: str
    cell: Callable[[Row], str]
    key: Callable[[Row], float | str | None]
    descending: bool = False
    style: str = ""

    @property
    def is_text(self) -> bool:
        """Whether it sorts as text."""
        return "text" in self.style


def write_page(rows: list[Row]) -> Path:
    """Write ``working/leaderboard.html``."""
    path = files.home() / "working" / "leaderboard.html"
    files.write_text(path, page(rows))
    return path


def page(rows: list[Row]) -> str:
    """The whole page; every text of the user's own is escaped."""
    found = groups(rows)
    titles = [escape(heading(key, rows)) for key in found]
    links = "".join(f'<li><a href="#group{number}">{title}</a></li>' for number, title in enumerate(titles))
    runs = sum(row.kind == "run" for row in rows)
    now = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    sections = [
        _section(f"group{number}", title, key[1], members)
        for number, (title, (key, members)) in enumerate(zip(titles, found.items(), strict=True))
    ]
    return Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        style=STYLE,
        theme=THEME,
        summary=f"{_count(runs, 'run')} and {_count(len(rows) - runs, 'blend')}, written {now}",
        contents=f'<nav aria-label="Datasets"><ul>{links}</ul></nav>' if len(found) > 1 else "",
        body="\n".join(sections),
        legend="\n".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in LEGEND.items()),
    )


def _section(identifier: str, title: str, metric: str, rows: list[Row]) -> str:
    parts = [f'<section aria-labelledby="{identifier}"><h2 id="{identifier}">{title}</h2>']
    if looks := max(row.dataset_test_evals for row in rows):
        parts.append(f'<p class="soft">The locked test part was looked at {_count(looks, "time")} in all.</p>')
    parts.append(f'<div class="pictures">{_pictures(rows, metric)}</div>')
    parts.append(_table(rows, title))
    return "\n".join([*parts, "</section>"])


def _pictures(rows: list[Row], metric: str) -> str:
    found = []
    if picture := forest(rows, metric):
        text = "Square: score with its 95 % interval; hollow where not ranked. Dots: folds. Diamond: in-sample."
        scored = sum(row.score is not None for row in rows)
        text += f" The first {MOST_ROWS} of {scored}." if scored > MOST_ROWS else ""
        found.append(f"<figure>{picture}<figcaption>{escape(text)}</figcaption></figure>")
    if picture := scatter(rows, metric):
        said = " ".join(filter(None, (agreement_text(rows, part) for part in ("public", "private"))))
        said += " Blue: public, orange: private; hollow: not ranked, and not counted."
        found.append(f"<figure>{picture}<figcaption>{escape(said)}</figcaption></figure>")
    return "".join(found)


def _table(rows: list[Row], title: str) -> str:
    columns = _columns(rows[0].higher_is_better)
    head = _header("#", "number", "ascending", "ascending") + "".join(
        _header(
            column.title, "text" if column.is_text else "number", "descending" if column.descending else "ascending"
        )
        for column in columns
    )
    parts = [
        f'<div class="scroll" tabindex="0" role="region" aria-label="{title}, table">',
        f"<table><caption>Click a heading to sort.</caption><thead><tr>{head}</tr></thead>",
    ]
    for section, chosen in enumerate(split(rows)):
        if not chosen:
            continue
        parts.append("<tbody>")
        if section == 1:
            between = f'<th colspan="{len(columns) + 1}" scope="rowgroup">{escape(UNRANKED.capitalize())}</th>'
            parts.append(f'<tr class="between">{between}</tr>')
        for rank, row in enumerate(chosen, start=1):
            first = f'<td data-sort="{rank}">{rank if section == 0 else ""}</td>'
            cells = "".join(_cell(column, row) for column in columns)
            parts.append(f'<tr class="{row.kind}{" aside" if section else ""}">{first}{cells}</tr>')
        parts.append("</tbody>")
    return "\n".join([*parts, "</table></div>"])


def _header(title: str, kind: str, first: str, sort: str = "none") -> str:
    """A heading that sorts: by text or number, and which way at the first click."""
    style = ' class="text"' if kind == "text" else ""
    data = f'data-type="{kind}" data-first="{first}" aria-sort="{sort}"'
    return f'<th scope="col"{style} {data}><button type="button">{escape(title)}</button></th>'


def _cell(column: _Column, row: Row) -> str:
    value = column.key(row)
    sort = "" if value is None else escape(value if isinstance(value, str) else repr(value))
    if column is _NAME:
        return f'<th scope="row" class="name" data-sort="{sort}">{column.cell(row)}</th>'
    style = f' class="{column.style}"' if column.style else ""
    return f'<td{style} data-sort="{sort}">{column.cell(row)}</td>'


def _columns(higher_is_better: bool) -> list[_Column]:
    """The columns but the first; of a score, better ones come first."""
    up = higher_is_better
    return [
        _NAME,
        _Column("differs from parent", _changes, lambda row: row.parent, style="text wide"),
        _Column("score", lambda row: _scored(row.score, row.low, row.high), lambda row: row.score, up),
        _Column("in-sample", lambda row: number(row.in_sample), lambda row: row.in_sample, up),
        _Column("optimism", lambda row: signed(row.optimism), lambda row: row.optimism, True),
        _Column("folds", _folds, lambda row: min((v for v in row.fold_scores.values() if v is not None), default=None)),
        _Column("fold spread", lambda row: number(row.fold_spread), lambda row: row.fold_spread),
        _Column("seed spread", _seeds, lambda row: row.seed_spread),
        _Column("fits", lambda row: fits_text(row), lambda row: row.done, True),
        _Column("checkpoint", lambda row: escape(checkpoint_text(row)), lambda row: row.checkpoint, style="text"),
        _Column("trained", lambda row: duration(row.seconds), lambda row: row.seconds),
        _Column("parameters", lambda row: parameters(row), lambda row: row.parameters),
        _Column("test", _test, lambda row: row.test_score, up),
        _Column("submission", _submission, lambda row: row.submission, style="text"),
        _Column("public", lambda row: _public(row), lambda row: row.public, up),
        _Column("private", lambda row: number(row.private), lambda row: row.private, up),
    ]


def _name(row: Row) -> str:
    badges = [row.kind] if row.kind == "blend" else []
    badges += ["sealed"] if row.sealed else []
    badges += [f"budget {row.budget}"] if row.budget else []
    marks = "".join(f'<span class="badge">{escape(badge)}</span>' for badge in badges)
    note = f'<span class="note">{escape(row.note)}</span>' if row.note else ""
    return f'<b>{escape(row.name)}</b>{marks}<span class="small">{escape(row.title)}</span>{note}'


def _changes(row: Row) -> str:
    scaled = f'<span class="small">budget: {escape(", ".join(row.scaled))}</span>' if row.scaled else ""
    if not row.parent:
        return scaled or "-"
    items = "".join(f"<li><code>{escape(change)}</code></li>" for change in row.changed or ["nothing changed"])
    return f'{escape(row.parent)} with<ul class="changes">{items}</ul>{scaled}'


def _scored(value: float | None, low: float | None, high: float | None) -> str:
    return f'<span class="headline">{number(value)}</span><span class="small">{bounds(low, high)}</span>'


def _folds(row: Row) -> str:
    return "<br>".join(escape(part) for part in _in_lines(folds_text(row).split(", "), 3))


def _in_lines(parts: list[str], each: int) -> list[str]:
    return [", ".join(parts[i : i + each]) for i in range(0, len(parts), each)]


def _seeds(row: Row) -> str:
    count = len(row.seed_scores)
    return number(row.seed_spread) + (f'<span class="small">{count} seeds</span>' if count > 1 else "")


def _test(row: Row) -> str:
    if not (text := looks_text(row)):
        return "-"
    lines = "".join(f'<span class="small">{part}</span>' for part in text.split(", "))
    return _scored(row.test_score, row.test_low, row.test_high) + lines


def _submission(row: Row) -> str:
    return f"<code>{escape(row.submission)}</code>" if row.submission else "-"


def _public(row: Row) -> str:
    if row.public_outdated:
        return '-<span class="small">an earlier version\'s</span>'
    noted = ", ".join(part for part in ((row.public_time or "")[:10], row.public_note) if part)
    return number(row.public) + (f'<span class="small memo">{escape(noted)}</span>' if noted else "")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


_NAME = _Column("name and title", _name, lambda row: row.name, style="text")
