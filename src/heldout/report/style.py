"""The look that the leaderboard and the reports share: one style sheet, one switch between light and dark."""

from __future__ import annotations

from pathlib import Path

STYLE = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
THEME = Path(__file__).with_name("theme.js").read_text(encoding="utf-8")


def standalone(svg: str) -> str:
    """A picture of a page as a file of its own: with the name space, the style sheet and a background."""
    head, _, rest = svg.partition(">")
    ground = '<rect width="100%" height="100%" style="fill: var(--card)"/>'
    return f'{head} xmlns="http://www.w3.org/2000/svg"><style>{STYLE}</style>{ground}{rest}\n'
