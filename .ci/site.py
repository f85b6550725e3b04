"""What the site needs beyond ``docs/``: pages of the repository's root, and links to files that are not pages."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.structure.files import File

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

ROOT = Path(__file__).parents[1]
PAGES = {"results.md": "RESULTS.md", "changelog.md": "CHANGELOG.md"}  # by their place on the site
_ROLE = re.compile(r":(?:func|class|meth|attr|mod|data):<code>~?(?:heldout\.[\w.]*\.)?")
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)#\s]+)(#[^)]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the root, and the pictures that they show."""
    for place, name in PAGES.items():
        files.append(File.generated(config, place, content=(ROOT / name).read_text(encoding="utf-8")))
    for picture in sorted((ROOT / "exps" / "results").glob("*.svg")):
        files.append(File.generated(config, f"exps/results/{picture.name}", abs_src_path=str(picture)))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """Links to the root's pages lead to their place; those to other files of the repository become their path."""
    return _LINK.sub(_here, markdown)


def on_page_content(html: str, **_: object) -> str:
    """References in docstrings are shown as names."""
    return _ROLE.sub("<code>", html)


def _here(found: re.Match[str]) -> str:
    picture, text, link, anchor = found.groups()
    path = link.removeprefix("../")
    place = next((place for place, name in PAGES.items() if name == path), None)
    if place is not None:
        return f"[{text}]({place}{anchor or ''})"
    if link.startswith("../") or (not picture and link.endswith(".ipynb")):
        return f"`{path}`"
    return found[0]
