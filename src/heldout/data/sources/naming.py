"""Names: natural order, ids of cases, and the texts that stand for files in an index."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePosixPath


def natural_key(text: str) -> list[tuple[int, int | str]]:
    """Sort key by which slice 2 comes before slice 10, and case does not matter until the end."""
    parts = re.split(r"(\d+)", text.casefold())
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in parts] + [(2, text)]


def identifier(text: str) -> str:
    """``text`` with every character that a case id may not have replaced by an underscore."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", text).strip("_.") or "case"


def unique_ids(names: Iterable[str]) -> list[str]:
    """Case ids of file names: path and name without the ending, told apart by a hash where two would be the same.

    Names that differ in their ending, their letter case or in characters that an id may not have count as the same.
    """
    names = list(names)
    plain = [identifier(re.sub(r"(\.nii)?\.[A-Za-z]+$", "", name).replace("/", "_")) for name in names]
    counts = Counter(text.casefold() for text in plain)
    return [
        text if counts[text.casefold()] == 1 else f"{text}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
        for text, name in zip(plain, names, strict=True)
    ]


def as_list(*paths: Path | PurePosixPath | str) -> str:
    """The ``image`` or ``mask`` text of one or more files."""
    return json.dumps([str(path) for path in paths])


def folder_with(root: Path, entry: str) -> Path | None:
    """The folder that holds ``entry``: the root, or one up to two levels below it, as archives are often unpacked."""
    for pattern in ("", "*", "*/*"):
        for folder in sorted(root.glob(pattern) if pattern else [root]):
            if (folder / entry).exists():
                return folder
    return None
