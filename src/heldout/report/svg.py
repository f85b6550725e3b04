"""Pictures of the leaderboard as inline SVG: colours come from the page's style sheet, so that both themes fit."""

from __future__ import annotations

import math
from html import escape

from heldout.evaluate.row import Row, ranked
from heldout.report.format import interval_text, number

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
    pairs = [(row, part, getattr(row, part)) for part in ("private", "public") for row in rows]
    known = [(row, part, value) for row, part, value in pairs if row.score is not None and value is not None]
    if not known:
        return ""
    width, height = 460, 330
    across = [v for row, _, _ in known for v in (row.score, row.low, row.high) if v is not None]
    x_axis, y_axis = Axis(across, 60, width - 20), Axis([value for _, _, value in known], height - 48, 16)
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
    for row, part, value in known:
        x, y = x_axis(row.score), y_axis(value)
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
    """

    def __init__(self, values: list[float], start: float, end: float, *, whole: bool = False) -> None:
        low, high = min(values), max(values)
        margin = (high - low) * 0.06 or max(abs(high) * 0.05, 0.01)
        self._low, self._high, self._start, self._end = low - margin, high + margin, start, end
        self.ticks = _round_ticks(self._low, self._high, 1 if whole else 0)

    def __call__(self, value: float) -> float:
        """Pixel of a value."""
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
