"""Text of a user made harmless, one function for each form of output; HTML is escaped by Jinja2 and markupsafe.

Names of cases, classes and files, titles and notes come from data that others made. A terminal obeys control
characters, a spreadsheet computes what looks like a formula, and Markdown passes HTML on.
"""

from __future__ import annotations

import re
import unicodedata

_UNSEEN = ("Cc", "Cf", "Cs", "Co")
_FORMULA = re.compile(r"\s*(?:[=+@]|-(?![\d.]))")


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

    Numbers stay as they are. Files that programs match by name (folds, submissions) are not written with it.

    Example:
        >>> spreadsheet("=cmd|' /C calc'!A0"), spreadsheet("-0.5"), spreadsheet("case-1")
        ("'=cmd|' /C calc'!A0", '-0.5', 'case-1')
    """
    return f"'{text}" if _FORMULA.match(text) else text


def markdown(text: str) -> Markdown:
    r"""Text as Markdown that shows it literally, in a paragraph, a heading or the cell of a table.

    Example:
        >>> print(markdown("a|b <script> `x` *y* dice_pos"))
        a\|b &lt;script> \`x\` \*y\* dice_pos
    """
    if isinstance(text, Markdown):
        return text
    safe = visible(text).replace("&", "&amp;").replace("<", "&lt;")
    safe = re.sub(r"([|*`~]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|\](?=[(\[:])|^(?:[#>+-]|\d+[.)])(?= ))", r"\\\1", safe)
    return Markdown(safe)
