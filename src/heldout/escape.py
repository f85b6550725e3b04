"""Text of a user made harmless, one function for each form of output; HTML is escaped by Jinja2 and markupsafe.

Names of cases, classes and files, titles and notes come from data that others made. A terminal obeys control
characters, a spreadsheet computes what looks like a formula, and Markdown passes HTML on.
"""

from __future__ import annotations

import contextlib
import math
import re
import unicodedata

_UNSEEN = ("Cc", "Cf", "Cs", "Co")
_FORMULA = re.compile(r"\s*[=+@\uff1d\uff0b\uff20\uff0d-]")  # spreadsheets read the full-width signs too

_LATEX = {
    **{char: f"\\{char}" for char in "&%$#_{}"},
    **{char: f"\\ensuremath{{{char}}}" for char in "<>|"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", '"': "''", "`": "'"},
    **{"\u2013": "--", "\u2014": "---", "\u2026": r"\ldots{}", "\u2019": "'", "\u201c": "``", "\u201d": "''"},
    **{"\u00b7": r"\ensuremath{\cdot}", "\u00d7": r"\ensuremath{\times}", "\u00bd": r"\ensuremath{\frac{1}{2}}"},
    **{"\u00b1": r"\ensuremath{\pm}", "\u2192": r"\ensuremath{\rightarrow}", "\u00b0": r"\ensuremath{^\circ}"},
    **{"\u2264": r"\ensuremath{\leq}", "\u2265": r"\ensuremath{\geq}", "\u00b5": r"\ensuremath{\mu}"},
    **{"\u00b2": r"\ensuremath{^2}", "\u00b3": r"\ensuremath{^3}"},
}


class Markdown(str):
    """Text that is Markdown already."""


def visible(text: str) -> str:
    r"""Text for a terminal: on one line, control characters and those that reorder text spelled out, as ``\x1b``.

    Example:
        >>> print(visible("a\tb\x1b[2J"))
        a b\x1b[2J
    """
    return "".join(
        char.encode("unicode_escape").decode() if unicodedata.category(char) in _UNSEEN else char
        for char in " ".join(text.split())
    )


def spreadsheet(text: str) -> str:
    """Text for a CSV file that people open: what a spreadsheet would compute begins with an apostrophe.

    Numbers stay as they are, and only they may begin with a sign. Files that programs match by name (folds,
    submissions) are not written with it.

    Example:
        >>> spreadsheet("=cmd|' /C calc'!A0"), spreadsheet("-0.5"), spreadsheet("case-1")
        ("'=cmd|' /C calc'!A0", '-0.5', 'case-1')
    """
    return f"'{text}" if _FORMULA.match(text) and not _is_number(text) else text


def _is_number(text: str) -> bool:
    with contextlib.suppress(ValueError):
        return text.isascii() and math.isfinite(float(text))
    return False


class Latex(str):
    """Text that is LaTeX already."""


def latex(text: str) -> Latex:
    r"""Text for LaTeX that shows it literally: in a paragraph, a caption or a table.

    What the usual fonts lack is spelled out.

    Example:
        >>> print(latex(r"a_b & 5 % \input{x}"))
        a\_b \& 5 \% \textbackslash{}input\{x\}
        >>> print(latex("0.5 \u00b1 0.1"))
        0.5 \ensuremath{\pm} 0.1
    """
    if isinstance(text, Latex):
        return text
    safe = "".join(_LATEX.get(char) or (char if char.isascii() else _in_latex(char)) for char in visible(text))
    return Latex(re.sub("-(?=-)", "-{}", safe) if "--" in text else safe)


def _in_latex(char: str) -> str:
    """A letter with its accent as it is; of other signs their names."""
    if unicodedata.category(char)[0] == "L" and unicodedata.name(char, "").startswith("LATIN"):
        return char
    return f"[{unicodedata.name(char, hex(ord(char))).lower()}]"


def markdown(text: str) -> Markdown:
    r"""Text as Markdown that shows it literally, in a paragraph, a heading or the cell of a table.

    Example:
        >>> print(markdown("a|b <script> `x` *y* dice_pos"))
        a\|b &lt;script> \`x\` \*y\* dice_pos
    """
    if isinstance(text, Markdown):
        return text
    safe = visible(text).replace("\\", "\\\\").replace("&", "&amp;").replace("<", "&lt;")
    safe = re.sub(r"([|*`~]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|\](?=[(\[:])|^(?:[#>+-]|\d+[.)])(?= ))", r"\\\1", safe)
    return Markdown(safe)
