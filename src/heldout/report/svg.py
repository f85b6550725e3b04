"""Charts of the leaderboard and of reports as inline SVG: colors come from the style sheet, so that both themes fit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from heldout.evaluate.row import Row, ranked
from heldout.report.format import interval_text, number

COLORS = 6  # of the style sheet
MOST_ROWS = 40  # of a forest plot; more cannot be told apart by eye
_WIDTH, _LABELS, _VALUES, _LINE = 820, 205, 175, 30


def forest(rows: list[Row], metric: str) -> str:
    """Score of every row with its interval, its folds as dots, and in-sample scores as hollow diamonds.

    Args:
        rows: Rows of one group, in the order to draw; those without a score are left out.
        metric: Name of the score.

    Returns:
        An ``<svg>`` element; empty where no row has a score.
    """
    chosen = [row for row in rows if row.score is not None][:MOST_ROWS]
    if not chosen:
        return ""
    shown = [v for row in chosen for v in (row.score, row.low, row.high, row.in_sample, *row.fold_scores.values())]
    axis = Axis([value for value in shown if value is not None], _LABELS, _WIDTH - _VALUES)
    bottom = len(chosen) * _LINE + 8
    title = f"{metric} of {len(chosen)} runs and blends with 95 % intervals over patients"
    parts = [open_svg(_WIDTH, bottom + 38, title)]
    for tick in axis.ticks:
        x = axis(tick)
        parts.append(f'<line class="grid" x1="{x}" x2="{x}" y1="4" y2="{bottom}"/>')
        parts.append(f'<text class="tick" x="{x}" y="{bottom + 16}" text-anchor="middle">{tick:g}</text>')
    middle = (_LABELS + _WIDTH - _VALUES) / 2
    parts.append(f'<text class="axis" x="{middle:g}" y="{bottom + 33}" text-anchor="middle">{escape(metric)}</text>')
    parts += [_forest_line(row, axis, 4 + (index + 0.5) * _LINE) for index, row in enumerate(chosen)]
    return "".join([*parts, "</svg>"])


def scatter(rows: list[Row], metric: str) -> str:
    """Scores that a competition showed against out-of-fold scores, a dot per row, with intervals.

    Args:
        rows: Rows of one group; those without both scores are left out.
        metric: Name of the score.

    Returns:
        An ``<svg>`` element; empty where no row has both.
    """
    pairs = [(row, row.score, part, getattr(row, part)) for part in ("private", "public") for row in rows]
    known = [(row, score, part, value) for row, score, part, value in pairs if score is not None and value is not None]
    if not known:
        return ""
    width, height = 460, 330
    across = [v for row, score, _, _ in known for v in (score, row.low, row.high) if v is not None]
    x_axis, y_axis = Axis(across, 60, width - 20), Axis([value for *_, value in known], height - 48, 16)
    parts = [open_svg(width, height, f"Competition score against out-of-fold {metric} of {len(known)} submissions")]
    for tick in x_axis.ticks:
        x = x_axis(tick)
        parts.append(f'<line class="grid" x1="{x}" x2="{x}" y1="16" y2="{height - 48}"/>')
        parts.append(f'<text class="tick" x="{x}" y="{height - 32}" text-anchor="middle">{tick:g}</text>')
    for tick in y_axis.ticks:
        y = y_axis(tick)
        parts.append(f'<line class="grid" x1="60" x2="{width - 20}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text class="tick" x="52" y="{y + 4:g}" text-anchor="end">{tick:g}</text>')
    label = f"out-of-fold {escape(metric)}"
    parts.append(f'<text class="axis" x="{(40 + width) / 2:g}" y="{height - 12}" text-anchor="middle">{label}</text>')
    turned = f'text-anchor="middle" transform="rotate(-90)" x="{-(height - 32) / 2:g}" y="14"'
    parts.append(f'<text class="axis" {turned}>competition score</text>')
    for row, score, part, value in known:
        x, y = x_axis(score), y_axis(value)
        classes = f"dot {part}" + ("" if ranked(row) else " aside")
        parts.append(f"<g><title>{escape(f'{row.name}: {interval_text(row)}, {part} {value:g}')}</title>")
        if row.low is not None and row.high is not None:
            parts.append(f'<line class="whisker" x1="{x_axis(row.low)}" x2="{x_axis(row.high)}" y1="{y}" y2="{y}"/>')
        parts.append(f'<circle class="{classes}" cx="{x}" cy="{y}" r="5"/>')
        if part == "public" or row.public is None:  # one label is enough where both are known
            before = x > width * 0.6
            side = f'x="{x + (-9 if before else 9):g}" text-anchor="{"end" if before else "start"}"'
            parts.append(f'<text class="tick" {side} y="{y - 7:g}">{escape(shorten(row.name, 24))}</text>')
        parts.append("</g>")
    return "".join([*parts, "</svg>"])


def _forest_line(row: Row, axis: Axis, y: float) -> str:
    assert row.score is not None, "rows without a score have no line"
    x, classes = axis(row.score), row.kind + ("" if ranked(row) else " aside")
    said = f"{row.name}: {interval_text(row)}"
    said += "" if row.in_sample is None else f", in-sample {number(row.in_sample)}"
    parts = [
        f'<g class="{classes}"><title>{escape(said)}</title>',
        f'<rect class="stripe" x="0" y="{y - _LINE / 2:g}" width="{_WIDTH}" height="{_LINE}"/>',
        f'<text class="label" x="0" y="{y + 4:g}">{escape(shorten(row.name, 28))}</text>',
    ]
    if row.low is not None and row.high is not None:
        parts.append(f'<line class="interval" x1="{axis(row.low)}" x2="{axis(row.high)}" y1="{y:g}" y2="{y:g}"/>')
    folds = [value for value in row.fold_scores.values() if value is not None] if len(row.fold_scores) > 1 else []
    parts += [f'<circle class="fold" cx="{axis(value)}" cy="{y + 8:g}" r="2.5"/>' for value in folds]
    if row.in_sample is not None:
        at = axis(row.in_sample)
        parts.append(f'<path class="in-sample" d="M{at - 5:g} {y:g}l5 -5l5 5l-5 5z"/>')
    parts.append(f'<rect class="mark" x="{x - 4.5:g}" y="{y - 4.5:g}" width="9" height="9" rx="1.5"/>')
    parts.append(f'<text class="value" x="{_WIDTH}" y="{y + 4:g}" text-anchor="end">{interval_text(row)}</text></g>')
    return "".join(parts)


class Axis:
    """A linear scale from values to pixels, with round ticks inside.

    Args:
        values: What must be seen; at least one.
        start, end: Pixels of the smallest and largest value, a margin included.
        whole: Only whole numbers get a tick.
        log: A logarithmic scale of positive values, with a tick at every power of ten.
    """

    def __init__(
        self, values: list[float], start: float, end: float, *, whole: bool = False, log: bool = False
    ) -> None:
        self._log = log
        low, high = min(values), max(values)
        if log:
            low, high = math.floor(math.log10(low)), math.ceil(math.log10(high))
        margin = (high - low) * 0.06 or max(abs(high) * 0.05, 0.01)
        self._low, self._high, self._start, self._end = low - margin, high + margin, start, end
        self.ticks = _round_ticks(self._low, self._high, 1 if whole or log else 0)
        if log:
            self.ticks = [10.0**tick for tick in self.ticks]

    def __call__(self, value: float) -> float:
        """Pixel of a value."""
        value = math.log10(value) if self._log else value
        share = (value - self._low) / (self._high - self._low)
        return round(self._start + share * (self._end - self._start), 1)


def _round_ticks(low: float, high: float, finest: float, most: int = 7) -> list[float]:
    """At most ``most`` multiples of 1, 2 or 5 times a power of ten between two values, ``finest`` apart or more."""
    rough = max((high - low) / most, finest)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    digits = max(0, 1 - math.floor(math.log10(step)))
    return [round(index * step, digits) for index in range(math.ceil(low / step), math.floor(high / step) + 1)]


def open_svg(width: int, height: int, title: str) -> str:
    """The opening tag of a picture."""
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    return f'<svg {size} role="img" aria-label="{escape(title)}">'


def shorten(text: str, most: int) -> str:
    """A text cut to a number of characters."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


@dataclass(frozen=True)
class Line:
    """A curve or a cloud of dots.

    Attributes:
        name: What the legend says; empty leaves it out.
        points: (x, y) pairs.
        color: Number of its color.
        sizes: Radius of a dot at each point; empty draws none.
        joined: Whether a line joins the points.
        dashed: Whether that line is dashed.
    """

    name: str
    points: Sequence[tuple[float, float]]
    color: int = 0
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
    log_x: bool = False,
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
        log_x: The horizontal axis is logarithmic.
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
    counted = spans[0] is None and not log_x and bool((points[:, 0] % 1 == 0).all())
    x = Axis([*points[:, 0], *(spans[0] or ())], left, right, whole=counted, log=log_x)
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


def bar_chart(bars: Sequence[Bar], title: str, label: str) -> str:
    """Horizontal bars from zero, with intervals; of differences to either side.

    Args:
        bars: What to draw, from top to bottom.
        title: Said to those who cannot see it.
        label: Name of the axis.

    Returns:
        An ``<svg>`` element; empty without bars.
    """
    if not bars:
        return ""
    width, values = 820, 200
    labels = min(360, max(230, 30 + 7 * max(len(bar.name) for bar in bars)))
    seen = [v for bar in bars for v in (bar.value, bar.low, bar.high) if v is not None]
    axis = Axis([*seen, 0.0], labels, width - values)
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
        parts.append(f'<text class="label" x="0" y="{y + 4:g}">{escape(shorten(bar.name, labels // 7 - 2))}</text>')
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
    """A confusion matrix: truth down, predictions across; the shade is the share of the row.

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
        f'<text class="axis" x="{left}" y="16">predicted</text><text class="axis" x="0" y="{top + 12}">true</text>'
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
        said = f"{names[row]} predicted as {names[column]}: {count} cases, {share:.1%} of {names[row]}"
        parts.append(f"<g><title>{escape(said)}</title>")
        parts.append(
            f'<rect class="cell" x="{x + 2}" y="{y + 2}" width="{size - 4}" height="{size - 4}" rx="6" '
            f'opacity="{0.06 + 0.5 * share:.3f}"/>'
        )
        centered = f'x="{x + size / 2:g}" text-anchor="middle"'
        parts.append(f'<text class="strong" {centered} y="{y + size / 2:g}">{count}</text>')
        parts.append(f'<text class="tick" {centered} y="{y + size / 2 + 18:g}">{share:.1%}</text></g>')
    return "".join([*parts, "</svg>"])


def _draw(line: Line, x: Axis, y: Axis, x_label: str) -> list[str]:
    color = line.color % COLORS
    places = [(x(a), y(b)) for a, b in line.points]
    parts = []
    if line.joined and len(places) > 1:
        path = "M" + "L".join(f"{a} {b}" for a, b in places)
        dashed = " dashed" if line.dashed else ""
        parts.append(f'<path class="line s{color}{dashed}" d="{path}"/>')
    for (a, b), (at, value), radius in zip(places, line.points, line.sizes, strict=False):
        said = escape(", ".join(filter(None, [line.name, f"{x_label} {at:g}: {value:.4g}"])))
        parts.append(
            f'<circle class="f{color} faint" cx="{a}" cy="{b}" r="{radius:.1f}"><title>{said}</title></circle>'
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
        color = line.color % COLORS
        dashed = " dashed" if line.dashed else ""
        mark = (
            f'<path class="line s{color}{dashed}" d="M{at} {y - 4}h18"/>'
            if line.joined
            else f'<circle class="f{color}" cx="{at + 9}" cy="{y - 4}" r="4"/>'
        )
        parts.append(f'{mark}<text class="tick" x="{at + 24}" y="{y}">{escape(shorten(line.name, 40))}</text>')
    return parts
