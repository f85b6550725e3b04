"""Path templates: ``images/{patient}/{id}.png`` names the pieces of a path, ``*`` stands for a piece without a name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from heldout.data.sources.layout import visible_files

_FIELD = re.compile(r"\{([^{}/]+?)(?::(\d+))?\}|(\*)")


class Template:
    """A pattern of texts, each of whose pieces holds no slash.

    Args:
        text: ``{name}`` is a piece with a name, ``{number}`` one of digits, ``{name:4}`` a number that zeros fill up to
            four digits, ``*`` any text, possibly none, and ``|`` separates forms, any of which will do.

    Example:
        >>> template = Template("{case}_{day}_slice_{slice}")
        >>> template.match("case7_day20_slice_0065")
        {'case': 'case7', 'day': 'day20', 'slice': '0065'}
        >>> Template("{id:4}.png").fill({"id": "7"}), Template("{id:4}.png").match("0007.png")
        ('0007.png', {'id': '7'})
        >>> Template("train/{case}/{case}_{day}/*/slice_{slice}_*.png").match("train/a/b_c/s/slice_1_2.png") is None
        True
    """

    def __init__(self, text: str) -> None:
        self.text = text

    @staticmethod
    def is_one(text: str) -> bool:
        """Whether a text names pieces, and is not a plain name."""
        return bool(re.search(r"\{[^{}/]+\}", text))

    @staticmethod
    def is_open(text: str) -> bool:
        """Whether more than one path can have a form, however its pieces are filled."""
        return "*" in text or "|" in text

    @cached_property
    def fields(self) -> tuple[str, ...]:
        """Names of the pieces, in the order of their first use."""
        return tuple(dict.fromkeys(match[1] for match in _FIELD.finditer(self.text) if match[1]))

    def match(self, text: str) -> dict[str, str] | None:
        """The pieces of a text that has this form; None where it has not."""
        for pattern in self._patterns:
            if found := pattern.fullmatch(text):
                pieces = {name: found.groupdict().get(f"f{number}", "") for number, name in enumerate(self.fields)}
                return pieces | {name: pieces[name].lstrip("0") or "0" for name in self._padded}
        return None

    def fill(self, values: Mapping[str, str]) -> str:
        """The text with these pieces; ``*`` stays."""
        return _FIELD.sub(lambda match: values[match[1]].zfill(int(match[2] or 0)) if match[1] else "*", self.text)

    def matches(self, names: Iterable[str]) -> dict[tuple[str, ...], list[str]]:
        """Names that have this form, by the values of its fields."""
        found: dict[tuple[str, ...], list[str]] = {}
        for name in names:
            if pieces := self.match(name):
                found.setdefault(tuple(pieces.values()), []).append(name)
        return found

    @cached_property
    def _padded(self) -> tuple[str, ...]:
        """Pieces that are numbers filled up with zeros."""
        return tuple({match[1] for match in _FIELD.finditer(self.text) if match[2]})

    @cached_property
    def _patterns(self) -> list[re.Pattern[str]]:
        return [re.compile(self._expression(text)) for text in self.text.split("|")]

    def _expression(self, text: str) -> str:
        parts, end, seen = list[str](), 0, set[str]()
        for match in _FIELD.finditer(text):
            parts.append(re.escape(text[end : match.start()]))
            end, name = match.end(), match[1]
            group = f"f{self.fields.index(name)}" if name else ""
            form = f"[0-9]{{{match[2]},}}" if match[2] else "[0-9]+" if name == "number" else "[^/]+?"
            if not name:
                parts.append("[^/]*")
            elif name in seen:
                parts.append(f"(?P={group})")
            else:
                parts.append(f"(?P<{group}>{form})")
                seen.add(name)
        return "".join([*parts, re.escape(text[end:])])


def names_below(root: Path) -> list[str]:
    """Files below a folder, and the folders that hold them, as paths relative to it, in the order of their names."""
    files = [path.relative_to(root) for path in visible_files(root)]
    folders = {parent for path in files for parent in path.parents if parent.parts}
    return sorted(path.as_posix() for path in {*files, *folders})


def patient_of(relative: Path, templates: Iterable[str], piece: str) -> str | None:
    """The piece of a path that names its patient, in the first of the templates that it fits and that has it."""
    for text in templates:
        pieces = Template(text).match(relative.as_posix())
        if pieces and pieces.get(piece):
            return pieces[piece]
    return None


def channel_sets(names: Sequence[str], templates: Sequence[str]) -> list[list[str]]:
    """Files of each case of a folder, a file for every template; the folder may hold the last parts of a layout only.

    Returns:
        Sets that are complete, in the order of their first files; none where no folder of the templates fits.

    Example:
        >>> channel_sets(["a_t1.nii", "a_t2.nii", "b_t1.nii"], ["raw/{id}/{id}_t1.nii", "raw/{id}/{id}_t2.nii"])
        [['a_t1.nii', 'a_t2.nii']]
    """
    for dropped in range(min(text.count("/") for text in templates) + 1):
        found: dict[str, list[str]] = {}
        for position, text in enumerate(templates):
            template = Template("/".join(text.split("/")[dropped:]))
            depth = template.text.count("/") + 1
            for name in names:
                above, own = name.split("/")[:-depth], "/".join(name.split("/")[-depth:])
                pieces = template.match(own)
                members = found.setdefault(f"{above} {pieces}", []) if pieces else None
                if members is not None and len(members) == position:
                    members.append(name)
        if complete := [members for members in found.values() if len(members) == len(templates)]:
            return complete
    return []
