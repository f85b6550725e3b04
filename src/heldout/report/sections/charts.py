"""Charts of a report as inline SVG, in the classes of the style sheet that the leaderboard has too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from heldout.report.svg import Axis, open_svg, shorten

COLOURS = 6  # of the style sheet
_LINE = 30


@dataclass(frozen=True)
class Line:
    """A curve or a cloud of dots.

    Attributes:
        name: What the legend says; empty leaves it out.
        points: (x, y) pairs.
        colour: Number of its colour.
        sizes: Radius of a dot at each point; empty draws none.
        joined: Whether a line joins the points.
        dashed: Whether that line is dashed.
    """

    name: str
    points: Sequence[tuple[float, float]]
    colour: int = 0
    sizes: Sequence[float] = ()
    joined: bool = True
    dashed: bool = False


@dataclass(frozen=True)
class Bar:
    """A value with its interval, and what stands behind it as text."""

    name: str
    value: float
    low: float | None
    high: float | None
    text: str


def line_chart(
    lines: Sequence[Line],
    title: str,
    x_label: str,
    y_label: str,
    *,
    spans: tuple[tuple[float, float] | None, tuple[float, float] | None] = (None, None),
    diagonal: bool = False,
    width: int = 470,
    height: int = 300,
) -> str:
    """Curves over a plane.

    Args:
        lines: What to draw; those without points are left out.
        title: Said to those who cannot see it.
        x_label: Name of the horizontal axis.
        y_label: Name of the vertical axis.
        spans: Least and greatest value that each axis must show; None fits the points.
        diagonal: Draw the line of equal values.
        width: Pixels.
        height: Pixels, the legend not included.

    Returns:
        An ``<svg>`` element; empty where there is no point.
    """
    drawn = [line for line in lines if len(line.points)]
    if not drawn:
        return ""
    named = [line for line in drawn if line.name]
    legend = 18 * len(_legend_rows(named, width)) if named else 0
    points = np.array([point for line in drawn for point in line.points], float)
    right, top, bottom = width - 14, 10, height - 44
    y = Axis([*points[:, 1], *(spans[1] or ())], bottom, top)
    left = 34 + 7 * max(len(f"{tick:g}") for tick in y.ticks)
    counted = spans[0] is None and bool((points[:, 0] % 1 == 0).all())
    x = Axis([*points[:, 0], *(spans[0] or ())], left, right, whole=counted)
    parts = [open_svg(width, height + legend, title)]
    for tick in x.ticks:
        parts.append(f'<line class="grid" x1="{x(tick)}" x2="{x(tick)}" y1="{top}" y2="{bottom}"/>')
        parts.append(f'<text class="tick" x="{x(tick)}" y="{bottom + 16}" text-anchor="middle">{tick:g}</text>')
    for tick in y.ticks:
        parts.append(f'<line class="grid" x1="{left}" x2="{right}" y1="{y(tick)}" y2="{y(tick)}"/>')
        parts.append(f'<text class="tick" x="{left - 8}" y="{y(tick) + 4:g}" text-anchor="end">{tick:g}</text>')
    parts.append(
        f'<text class="axis" x="{(left + right) / 2:g}" y="{height - 8}" text-anchor="middle">{escape(x_label)}</text>'
    )
    turned = f'text-anchor="middle" transform="rotate(-90)" x="{-(top + bottom) / 2:g}" y="14"'
    parts.append(f'<text class="axis" {turned}>{escape(y_label)}</text>')
    if diagonal:
        parts.append(f'<line class="zero dashed" x1="{x(0)}" y1="{y(0)}" x2="{x(1)}" y2="{y(1)}"/>')
    for line in drawn:
        parts += _draw(line, x, y, x_label)
    for row, members in enumerate(_legend_rows(named, width)):
        parts += _legend(members, height + 12 + 18 * row)
    return "".join([*parts, "</svg>"])


def bar_chart(bars: Sequence[Bar], title: str, label: str, *, least: float = 0.0) -> str:
    """Horizontal bars from zero, with intervals; of differences to either side.

    Args:
        bars: What to draw, from top to bottom.
        title: Said to those who cannot see it.
        label: Name of the axis.
        least: A value that the axis must show beside zero.

    Returns:
        An ``<svg>`` element; empty without bars.
    """
    if not bars:
        return ""
    width, labels, values = 820, 230, 200
    seen = [v for bar in bars for v in (bar.value, bar.low, bar.high) if v is not None]
    axis = Axis([*seen, 0.0, least], labels, width - values)
    bottom = len(bars) * _LINE + 8
    parts = [open_svg(width, bottom + 38, title)]
    for tick in axis.ticks:
        parts.append(f'<line class="grid" x1="{axis(tick)}" x2="{axis(tick)}" y1="4" y2="{bottom}"/>')
        parts.append(f'<text class="tick" x="{axis(tick)}" y="{bottom + 16}" text-anchor="middle">{tick:g}</text>')
    parts.append(f'<line class="zero" x1="{axis(0)}" x2="{axis(0)}" y1="4" y2="{bottom}"/>')
    middle = (labels + width - values) / 2
    parts.append(f'<text class="axis" x="{middle:g}" y="{bottom + 33}" text-anchor="middle">{escape(label)}</text>')
    for index, bar in enumerate(bars):
        y = 4 + (index + 0.5) * _LINE
        start, end = sorted((axis(0), axis(bar.value)))
        parts.append(f"<g><title>{escape(f'{bar.name}: {bar.text}')}</title>")
        parts.append(f'<rect class="stripe" x="0" y="{y - _LINE / 2:g}" width="{width}" height="{_LINE}"/>')
        parts.append(f'<text class="label" x="0" y="{y + 4:g}">{escape(shorten(bar.name, 32))}</text>')
        parts.append(f'<rect class="bar f0" x="{start}" y="{y - 8:g}" width="{end - start:g}" height="16" rx="2"/>')
        if bar.low is not None and bar.high is not None:
            low, high = axis(bar.low), axis(bar.high)
            ends = "".join(f"M{at} {y - 5:g}v10" for at in (low, high))
            parts.append(f'<path class="bound" d="M{low} {y:g}H{high}{ends}"/>')
        at = axis(bar.value)
        parts.append(f'<rect class="mark" x="{at - 2:g}" y="{y - 8:g}" width="4" height="16" rx="1"/>')
        parts.append(f'<text class="value" x="{width}" y="{y + 4:g}" text-anchor="end">{escape(bar.text)}</text></g>')
    return "".join([*parts, "</svg>"])


def matrix_chart(counts: np.ndarray, names: Sequence[str], title: str) -> str:
    """A confusion matrix: truth down, calls across; the shade is the share of the row.

    Args:
        counts: (n, n) whole numbers.
        names: Names of the n labels.
        title: Said to those who cannot see it.

    Returns:
        An ``<svg>`` element.
    """
    size, left, top = 92, 150, 48
    width, height = left + size * len(names) + 8, top + size * len(names) + 8
    parts = [open_svg(width, height, title)]
    parts.append(
        f'<text class="axis" x="{left}" y="16">called</text><text class="axis" x="0" y="{top + 12}">true</text>'
    )
    for index, name in enumerate(names):
        middle = index * size + size / 2
        text = escape(shorten(name, 12))
        parts.append(f'<text x="{left + middle:g}" y="{top - 10}" text-anchor="middle">{text}</text>')
        parts.append(
            f'<text x="{left - 10}" y="{top + middle + 4:g}" text-anchor="end">{escape(shorten(name, 18))}</text>'
        )
    for (row, column), count in np.ndenumerate(counts):
        share = count / max(counts[row].sum(), 1)
        x, y = left + column * size, top + row * size
        said = f"{names[row]} called {names[column]}: {count} cases, {share:.1%} of {names[row]}"
        parts.append(f"<g><title>{escape(said)}</title>")
        parts.append(
            f'<rect class="cell" x="{x + 2}" y="{y + 2}" width="{size - 4}" height="{size - 4}" rx="6" '
            f'opacity="{0.06 + 0.5 * share:.3f}"/>'
        )
        middle = f'x="{x + size / 2:g}" text-anchor="middle"'
        parts.append(f'<text class="strong" {middle} y="{y + size / 2:g}">{count}</text>')
        parts.append(f'<text class="tick" {middle} y="{y + size / 2 + 18:g}">{share:.1%}</text></g>')
    return "".join([*parts, "</svg>"])


def _draw(line: Line, x: Axis, y: Axis, x_label: str) -> list[str]:
    colour = line.colour % COLOURS
    places = [(x(a), y(b)) for a, b in line.points]
    parts = []
    if line.joined and len(places) > 1:
        path = "M" + "L".join(f"{a} {b}" for a, b in places)
        dashed = " dashed" if line.dashed else ""
        parts.append(f'<path class="line s{colour}{dashed}" d="{path}"/>')
    for (a, b), (at, value), radius in zip(places, line.points, line.sizes, strict=False):
        said = escape(", ".join(filter(None, [line.name, f"{x_label} {at:g}: {value:.4g}"])))
        parts.append(
            f'<circle class="f{colour} faint" cx="{a}" cy="{b}" r="{radius:.1f}"><title>{said}</title></circle>'
        )
    return parts


def _legend_rows(lines: Sequence[Line], width: int) -> list[list[tuple[int, Line]]]:
    """Entries of a legend with where each begins, in rows that fit the width."""
    rows: list[list[tuple[int, Line]]] = [[]]
    at = 60
    for line in lines:
        needed = 34 + 7 * len(shorten(line.name, 40))
        if rows[-1] and at + needed > width:
            rows.append([])
            at = 60
        rows[-1].append((at, line))
        at += needed
    return rows


def _legend(members: list[tuple[int, Line]], y: int) -> list[str]:
    parts = []
    for at, line in members:
        colour = line.colour % COLOURS
        dashed = " dashed" if line.dashed else ""
        mark = (
            f'<path class="line s{colour}{dashed}" d="M{at} {y - 4}h18"/>'
            if line.joined
            else f'<circle class="f{colour}" cx="{at + 9}" cy="{y - 4}" r="4"/>'
        )
        parts.append(f'{mark}<text class="tick" x="{at + 24}" y="{y}">{escape(shorten(line.name, 40))}</text>')
    return parts
