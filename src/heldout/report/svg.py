"""All charts as SVG: colors come from the style sheet, so that both themes fit; text is escaped in :func:`element`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from heldout.escape import visible
from heldout.evaluate.row import Row, ranked
from heldout.report.format import interval_text, number

if TYPE_CHECKING:
    import numpy as np

STYLE = (Path(__file__).parent / "templates" / "page.css").read_text(encoding="utf-8")
SPACE = '<svg xmlns="http://www.w3.org/2000/svg"'
COLORS = 6  # of the style sheet
MOST_ROWS = 40  # of a forest plot; more cannot be told apart by eye
_PLOT, _VALUES, _LINE, _LETTER = 430, 200, 30, 7


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
    """A value in a row of its own.

    Attributes:
        name: Text on the left.
        value: Where its mark is.
        low, high: Its interval; None where not known.
        text: Text on the right.
        folds: Values to be shown as dots.
        in_sample: Value to be shown as a hollow diamond.
        kind: Classes of the style sheet: ``run`` or ``blend``, and ``aside`` where not ranked.
    """

    name: str
    value: float
    low: float | None
    high: float | None
    text: str
    folds: Sequence[float] = ()
    in_sample: float | None = None
    kind: str = ""


def element(tag: str, *content: str, **attributes: Any) -> Markup:
    """An element; content is escaped unless it is markup, and so are attributes.

    Args:
        tag: Its name.
        content: Text or elements inside.
        attributes: ``text_anchor="end"`` gives ``text-anchor="end"``, ``class_`` gives ``class``.

    Example:
        >>> print(element("text", "a < b", x=1.5, text_anchor="end"))
        <text x="1.5" text-anchor="end">a &lt; b</text>
    """
    values = Markup("").join(
        Markup(' {}="{}"').format(
            name.rstrip("_").replace("_", "-"), f"{value:g}" if isinstance(value, float) else value
        )
        for name, value in attributes.items()
    )
    inside = Markup("").join(one if isinstance(one, Markup) else visible(one) for one in content)
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(tag), values, inside)


def drawing(width: int, height: int, title: str, parts: Iterable[Markup]) -> Markup:
    """An ``<svg>`` element; the title is read to those who cannot see it."""
    size = {"viewBox": f"0 0 {width} {height}", "width": width, "height": height}
    return element("svg", *parts, **size, role="img", aria_label=visible(title))


def standalone(charts: Sequence[str]) -> str:
    """Charts side by side as a file of its own: with the name space, the style sheet and a background."""
    parts = [element("style", Markup(STYLE)), element("rect", width="100%", height="100%", style="fill: var(--card)")]
    width = height = 0
    for chart in map(str, charts):
        across, down = (int(chart.partition(f' {name}="')[2].partition('"')[0]) for name in ("width", "height"))
        parts.append(Markup(chart.replace("<svg", f'<svg x="{width}"', 1)))
        width, height = width + across, max(height, down)
    whole = drawing(width, height, "heldout", parts)
    return f"{str(whole).replace('<svg', SPACE, 1)}\n"


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
        self._low, self._high, self.start, self.end = low - margin, high + margin, start, end
        self.ticks = _round_ticks(self._low, self._high, 1 if whole or log else 0)
        if log:
            self.ticks = [10.0**tick for tick in self.ticks]

    def __call__(self, value: float) -> float:
        """Pixel of a value."""
        value = math.log10(value) if self._log else value
        share = (value - self._low) / (self._high - self._low)
        return round(self.start + share * (self.end - self.start), 1)


def shorten(text: str, most: int) -> str:
    """A text cut to a number of characters."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def forest(rows: list[Row], metric: str) -> str:
    """Score of every row with its interval, its folds as dots, and in-sample scores as hollow diamonds.

    Args:
        rows: Rows of one group, in the order to draw; those without a score are left out.
        metric: Name of the score.

    Returns:
        An ``<svg>`` element; empty where no row has a score.
    """
    bars = []
    for row in rows:
        if row.score is not None:
            folds = [value for value in row.fold_scores.values() if value is not None]
            shown, kind = folds if len(row.fold_scores) > 1 else (), row.kind + ("" if ranked(row) else " aside")
            bars.append(Bar(row.name, row.score, row.low, row.high, interval_text(row), shown, row.in_sample, kind))
    title = f"{metric} of {min(len(bars), MOST_ROWS)} runs and blends with 95 % intervals over patients"
    return bar_chart(bars[:MOST_ROWS], title, metric, from_zero=False)


def bar_chart(bars: Sequence[Bar], title: str, label: str, *, from_zero: bool = True) -> str:
    """Values with intervals, one below the other.

    Args:
        bars: What to draw, from top to bottom.
        title: Said to those who cannot see it.
        label: Name of the axis.
        from_zero: Draw bars that begin at zero, to either side.

    Returns:
        An ``<svg>`` element; empty without bars.
    """
    if not bars:
        return ""
    seen = [v for bar in bars for v in (bar.value, bar.low, bar.high, bar.in_sample, *bar.folds) if v is not None]
    names = min(400, max(205, 30 + _LETTER * max(len(bar.name) for bar in bars)))
    width = names + _PLOT + _VALUES
    axis = Axis([*seen, *((0.0,) if from_zero else ())], names, width - _VALUES)
    bottom = len(bars) * _LINE + 8
    parts = _frame(axis, (4, bottom), label)
    if from_zero:
        parts.append(element("line", class_="zero", x1=axis(0), x2=axis(0), y1=4, y2=bottom))
    for index, bar in enumerate(bars):
        x, said, marks = axis(bar.value), f"{bar.name}: {bar.text}", []
        if from_zero:
            start, end = sorted((axis(0), x))
            marks.append(element("rect", class_="bar f0", x=start, y=-8, width=end - start, height=16, rx=2))
        if bar.low is not None and bar.high is not None:
            marks.append(element("line", class_="interval", x1=axis(bar.low), x2=axis(bar.high), y1=0, y2=0))
        marks += [element("circle", class_="fold", cx=axis(value), cy=8, r=2.5) for value in bar.folds]
        if bar.in_sample is not None:
            said += f", in-sample {number(bar.in_sample)}"
            marks.append(element("path", class_="in-sample", d=f"M{axis(bar.in_sample) - 5:g} 0l5 -5l5 5l-5 5z"))
        marks.append(element("rect", class_="mark", x=x - 4.5, y=-4.5, width=9, height=9, rx=1.5))
        inside = (
            element("title", said),
            element("rect", class_="stripe", x=0, y=-_LINE / 2, width=width, height=_LINE),
            _text(shorten(bar.name, names // _LETTER - 2), 0, 4, "start", "label"),
            *marks,
            _text(bar.text, width, 4, "end", "value"),
        )
        place = f"translate(0 {4 + (index + 0.5) * _LINE:g})"
        parts.append(element("g", *inside, class_=bar.kind or "run", transform=place))
    return drawing(width, bottom + 38, title, parts)


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
    parts = _frame(x_axis, y_axis, f"out-of-fold {metric}", "competition score")
    for row, score, part, value in known:
        x, y = x_axis(score), y_axis(value)
        marks = [element("title", f"{row.name}: {interval_text(row)}, {part} {value:g}")]
        if row.low is not None and row.high is not None:
            marks.append(element("line", class_="whisker", x1=x_axis(row.low), x2=x_axis(row.high), y1=y, y2=y))
        marks.append(element("circle", class_=f"dot {part}" + ("" if ranked(row) else " aside"), cx=x, cy=y, r=5))
        if part == "public" or row.public is None:  # one label is enough where both are known
            before = x > width * 0.6
            marks.append(_text(shorten(row.name, 24), x + (-9 if before else 9), y - 7, "end" if before else "start"))
        parts.append(element("g", *marks))
    return drawing(width, height, f"Competition score against out-of-fold {metric} of {len(known)} submissions", parts)


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
    points = [point for line in drawn for point in line.points]
    y = Axis([*(float(b) for _, b in points), *(spans[1] or ())], height - 44, 10)
    counted = spans[0] is None and not log_x and all(a % 1 == 0 for a, _ in points)
    left = 34 + _LETTER * max(len(f"{tick:g}") for tick in y.ticks)
    x = Axis([*(float(a) for a, _ in points), *(spans[0] or ())], left, width - 14, whole=counted, log=log_x)
    parts = _frame(x, y, x_label, y_label)
    if diagonal:
        parts.append(element("line", class_="zero dashed", x1=x(0), y1=y(0), x2=x(1), y2=y(1)))
    for line in drawn:
        parts += _draw(line, x, y, x_label)
    legend = _legend_rows([line for line in drawn if line.name], width)
    for number_, members in enumerate(legend):
        parts += _legend(members, height + 12 + 18 * number_)
    return drawing(width, height + 18 * len(legend), title, parts)


def matrix_chart(counts: np.ndarray, names: Sequence[str], title: str) -> str:
    """A confusion matrix: truth down, predictions across; the shade is the share of the row.

    Args:
        counts: (n, n) whole numbers.
        names: Names of the n labels.
        title: Said to those who cannot see it.

    Returns:
        An ``<svg>`` element.
    """
    size, top = 92, 48
    left = min(260, max(90, 24 + _LETTER * max(map(len, names))))
    parts = [_text("predicted", left, 16, "start", "axis"), _text("true", 0, top + 12, "start", "axis")]
    for row, name in enumerate(names):
        middle = row * size + size / 2
        parts.append(_text(shorten(name, 12), left + middle, top - 10, "middle", "label"))
        parts.append(_text(shorten(name, left // _LETTER - 2), left - 10, top + middle + 4, "end", "label"))
        for column, other in enumerate(names):
            count, share = int(counts[row, column]), counts[row, column] / max(counts[row].sum(), 1)
            x, y = left + column * size, top + row * size
            place = {"x": x + 2, "y": y + 2, "width": size - 4, "height": size - 4, "rx": 6}
            parts.append(
                element(
                    "g",
                    element("title", f"{name} predicted as {other}: {count} cases, {share:.1%} of {name}"),
                    element("rect", class_="cell", **place, opacity=f"{0.06 + 0.5 * share:.3f}"),
                    _text(str(count), x + size / 2, y + size / 2, "middle", "strong"),
                    _text(f"{share:.1%}", x + size / 2, y + size / 2 + 18, "middle"),
                )
            )
    return drawing(left + size * len(names) + 8, top + size * len(names) + 8, title, parts)


def _frame(x: Axis, y: Axis | tuple[float, float], x_label: str, y_label: str = "") -> list[Markup]:
    """Lines and figures at the ticks, and names of the axes; rows have no second axis, but a top and a bottom."""
    parts, (top, bottom) = [], (y.end, y.start) if isinstance(y, Axis) else y
    for tick in x.ticks:
        parts.append(element("line", class_="grid", x1=x(tick), x2=x(tick), y1=top, y2=bottom))
        parts.append(_text(f"{tick:g}", x(tick), bottom + 16, "middle"))
    parts.append(_text(x_label, (x.start + x.end) / 2, bottom + 34, "middle", "axis"))
    if isinstance(y, Axis):
        for tick in y.ticks:
            parts.append(element("line", class_="grid", x1=x.start, x2=x.end, y1=y(tick), y2=y(tick)))
            parts.append(_text(f"{tick:g}", x.start - 8, y(tick) + 4, "end"))
        turned = {"text_anchor": "middle", "transform": "rotate(-90)", "x": -(top + bottom) / 2, "y": 14}
        parts.append(element("text", y_label, class_="axis", **turned))
    return parts


def _text(text: str, x: float, y: float, anchor: str, kind: str = "tick") -> Markup:
    return element("text", text, class_=kind, x=x, y=y, text_anchor=anchor)


def _round_ticks(low: float, high: float, finest: float, most: int = 7) -> list[float]:
    """At most ``most`` multiples of 1, 2 or 5 times a power of ten between two values, ``finest`` apart or more."""
    rough = max((high - low) / most, finest)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    digits = max(0, 1 - math.floor(math.log10(step)))
    return [round(index * step, digits) for index in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _draw(line: Line, x: Axis, y: Axis, x_label: str) -> list[Markup]:
    places = [(x(a), y(b)) for a, b in line.points]
    parts = []
    if line.joined and len(places) > 1:
        path = "M" + "L".join(f"{a:g} {b:g}" for a, b in places)
        parts.append(element("path", class_=_stroke(line), d=path))
    for (a, b), (at, value), radius in zip(places, line.points, line.sizes, strict=False):
        said = element("title", ", ".join(filter(None, [line.name, f"{x_label} {at:g}: {value:.4g}"])))
        parts.append(element("circle", said, class_=f"f{line.color % COLORS} faint", cx=a, cy=b, r=f"{radius:.1f}"))
    return parts


def _stroke(line: Line) -> str:
    return f"line s{line.color % COLORS}{' dashed' if line.dashed else ''}"


def _legend_rows(lines: Sequence[Line], width: int) -> list[list[tuple[int, Line]]]:
    """Entries of a legend with where each begins, in rows that fit the width."""
    rows: list[list[tuple[int, Line]]] = []
    at = width
    for line in lines:
        needed = 34 + _LETTER * len(shorten(line.name, 40))
        if at + needed > width:
            rows.append([])
            at = 60
        rows[-1].append((at, line))
        at += needed
    return rows


def _legend(members: list[tuple[int, Line]], y: int) -> list[Markup]:
    parts = []
    for at, line in members:
        dot = element("circle", class_=f"f{line.color % COLORS}", cx=at + 9, cy=y - 4, r=4)
        parts.append(element("path", class_=_stroke(line), d=f"M{at} {y - 4}h18") if line.joined else dot)
        parts.append(_text(shorten(line.name, 40), at + 24, y, "start"))
    return parts
