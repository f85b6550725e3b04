"""One module per dataset layout, and what they have in common.

A source turns a dataset's folder into one row per case and reads a case's pixels. To add a layout, subclass
:class:`Source` in a module of this package, fill ``_rows`` and name the module in
:data:`heldout.data.sources.names.SOURCES`.
"""

from __future__ import annotations

import difflib
import importlib

from heldout.data.sources.layout import as_list, folder_with, identifier, natural_key, unique_ids
from heldout.data.sources.names import SOURCES
from heldout.data.sources.source import Source
from heldout.errors import UserError

__all__ = [
    "SOURCES",
    "Source",
    "as_list",
    "folder_with",
    "identifier",
    "natural_key",
    "source_class",
    "unique_ids",
]


def source_class(name: str) -> type[Source]:
    """Class of the source ``name``; its ``locate`` finds the dataset's folder.

    Raises:
        UserError: there is no such source.
    """
    if name not in SOURCES:
        close = difflib.get_close_matches(name, SOURCES, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise UserError(f"source {name!r} does not exist: choose one of {', '.join(SOURCES)}{hint}")
    return getattr(importlib.import_module(f"heldout.data.sources.{name}"), SOURCES[name])
