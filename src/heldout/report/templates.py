"""Pages and Markdown from templates: what a user wrote is escaped here, once for each form of output.

Files named ``*.html.j2`` are escaped for HTML, ``*.md.j2`` for Markdown, ``*.tex.j2`` for LaTeX (where
values stand in ``<< >>`` and statements in ``<% %>``); all show control characters spelled out.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

from heldout.escape import Latex, Markdown, latex, markdown, visible
from heldout.report.svg import element

if TYPE_CHECKING:
    from jinja2 import Environment

_FOLDER = Path(__file__).with_name("templates")
ESCAPES: dict[str, Callable[[str], str]] = {"html": visible, "md": markdown, "tex": latex}
_LATEX_SIGNS: Any = {  # its own braces would be taken for those of a template
    **{"block_start_string": "<%", "block_end_string": "%>", "comment_start_string": "<#", "comment_end_string": "#>"},
    **{"variable_start_string": "<<", "variable_end_string": ">>"},
}


def render(template: str, **values: Any) -> str:
    """Fill a template of the ``templates`` folder.

    Args:
        template: File name without ``.j2``: ``leaderboard.html``.
        values: What the template names; a missing one is an error.

    Returns:
        HTML, Markdown or LaTeX, in which every value is escaped but those that are :class:`markupsafe.Markup`,
        :class:`Markdown` or :class:`Latex`.
    """
    return _environment(template.rpartition(".")[2]).get_template(f"{template}.j2").render(values)


def code_in_html(text: str) -> Markup:
    """A sentence of ours, in which `backticks` mark code."""
    parts = _paired(visible(text)).split("`")
    return Markup("").join(element("code", part) if k % 2 else escape(part) for k, part in enumerate(parts))


def code_in_markdown(text: str) -> Markdown:
    """A sentence of ours, in which `backticks` mark code."""
    parts = _paired(visible(text)).split("`")
    return Markdown("".join(f"`{part}`" if k % 2 else _inner(part) for k, part in enumerate(parts)))


def _inner(text: str) -> str:
    """Escaped, with the spaces at its ends."""
    return f"{' ' * text.startswith(' ')}{markdown(text)}{' ' * text.endswith(' ')}" if text.strip() else text


def _paired(text: str) -> str:
    """A single backtick marks nothing."""
    return text if text.count("`") % 2 == 0 else text.replace("`", "'")


@cache
def _environment(form: str) -> Environment:
    from jinja2 import Environment, FileSystemBytecodeCache, FileSystemLoader, StrictUndefined

    def finalize(value: Any) -> Any:
        if isinstance(value, Markup | Markdown | Latex) or not isinstance(value, str):
            return value
        return ESCAPES[form](value)

    made = Environment(
        loader=FileSystemLoader(_FOLDER),
        bytecode_cache=FileSystemBytecodeCache(),  # a folder of the user's own among the temporary files
        autoescape=form == "html",
        finalize=finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        **(_LATEX_SIGNS if form == "tex" else {}),
    )
    made.filters["code"] = code_in_html if form == "html" else code_in_markdown
    return made
