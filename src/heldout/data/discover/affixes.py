"""Ids that are not names of files as they are: what all begin or end with, zeros, or folders of several images."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from heldout.data.discover.listing import Listing, ending_of, evenly, stem_of
from heldout.data.discover.matching import Match, component, match_table, merged_folders, start_of
from heldout.data.sources.template import Template

if TYPE_CHECKING:
    import pandas as pd

_TRIED = 400  # values of a column that are looked up
_HALF = 0.5  # share of them that must be found, and of a column's values that must differ
_FEWEST = 3  # values of a column at least, which is one of labels otherwise
_CHANNELS = 6  # files of a case at most that may be channels
_START = re.compile(r"[^A-Za-z0-9]|[A-Za-z](?=[0-9])")  # where what all begin with may be cut
_END = re.compile(r"[^A-Za-z0-9]")
_PIECE = ("image", "name", "stem")  # what the differing part of an id may be called


def match_rows(listing: Listing, frame: pd.DataFrame) -> Match | None:
    """How the rows of a table name images: as :func:`match_table` finds, or after something is cut off."""
    plain = match_table(listing, frame)
    if plain is not None and plain.share >= _HALF:
        return plain
    ways = (way(listing, frame, name) for way in (_by_affixes, _by_folders) for name in frame.columns)
    return next((match for match in ways if match), plain)


@dataclass(frozen=True)
class _Cut:
    """What texts begin and end with; ``width`` is that of numbers that zeros fill up, else 0."""

    start: str
    end: str
    width: int = 0

    def core(self, text: str) -> str:
        """The text between, a number without its zeros."""
        core = text[len(self.start) : len(text) - len(self.end)]
        return (core.lstrip("0") or "0") if self.width else core


def constant_ends(texts: Sequence[str]) -> Iterator[tuple[str, str]]:
    """What all texts begin and end with, nothing first, cut between words.

    Example:
        >>> list(constant_ends(["img_012_image", "img_345_image"]))
        [('', ''), ('', '_image'), ('img_', ''), ('img_', '_image')]
    """
    common, back = start_of(texts), start_of([text[::-1] for text in texts])[::-1]
    starts = ["", *(common[: match.end()] for match in _START.finditer(f"{common}0") if match.end() <= len(common))]
    ends = ["", *(back[match.start() :] for match in reversed(list(_END.finditer(back))))]
    shortest = min(map(len, texts))
    for start in starts:
        yield from ((start, end) for end in ends if len(start) + len(end) < shortest)


def _by_affixes(listing: Listing, frame: pd.DataFrame, column: str) -> Match | None:
    """A column whose values are files' names but for what all of them, or of the files, begin or end with."""
    values = evenly([text for text in dict.fromkeys(frame[column].str.strip()) if text], _TRIED)
    if len(values) < _FEWEST or "/" in "".join(values[:20]):
        return None
    best: tuple[int, _Cut, _Cut, str, dict[str, str]] | None = None
    for (_, suffix), files in _groups(listing).items():
        for of_files, names in _cores(files):
            if len(names) < len(files):  # as of images that are called alike in every folder
                continue
            for start, end in constant_ends(values):
                cut, plain = _Cut(start, end, of_files.width), _Cut(start, end)
                if of_files.width and any(cut.core(value) != plain.core(value) for value in values):
                    continue  # these have zeros of their own
                hits = sum(cut.core(value) in names for value in values)
                if hits >= max(_HALF * len(values), 2) and (best is None or hits > best[0]):
                    best = hits, cut, of_files, suffix, names
    if best is None:
        return None
    hits, cut, of_files, ending, names = best
    piece = "id" if cut.start == cut.end == "" else _piece(cut.end, frame)
    shown = defaultdict(list)
    rows = frame.assign(**{column: frame[column].str.strip()}).drop_duplicates(column).to_dict("records")
    for row in rows:
        if name := names.get(cut.core(row[column])):
            row = {**row, piece: cut.core(row[column])}
            folders = [component(part, row, "") for part in PurePosixPath(name).parts[:-1]]
            shown[len(folders)].append((name, folders))
    found = max(shown.values(), key=len)
    width = f":{of_files.width}" if of_files.width else ""
    file = f"{of_files.start}{{{piece}{width}}}{of_files.end}{ending}"
    path = "/".join([*merged_folders([folders for _, folders in found]), file])
    parts = "" if piece == "id" else f"{cut.start}{{{piece}}}{cut.end}"
    return Match(column, hits / len(values), (path,), parts=parts, example=found[0][0])


def _groups(listing: Listing) -> dict[tuple[str, str], list[str]]:
    """Images that are no masks, by the first of their folders and their ending."""
    found = defaultdict(list)
    for name in listing.images:
        if not listing.is_mask(name):
            found["/".join(PurePosixPath(name).parts[: listing.common + 1][:-1]), ending_of(name)].append(name)
    return {key: files for key, files in found.items() if len(files) > 1}


def _cores(files: Sequence[str]) -> Iterator[tuple[_Cut, dict[str, str]]]:
    """Files by what differs in their names, in the ways of cutting off what does not."""
    stems = [stem_of(name) for name in files]
    for start, end in constant_ends(stems):
        whole = _Cut(start, end)
        cores = [whole.core(stem) for stem in stems]
        yield whole, dict(zip(cores, files, strict=True))
        widths = {len(core) for core in cores}
        if all(map(str.isdecimal, cores)) and len(widths) == 1 and any(core.startswith("0") for core in cores):
            padded = _Cut(start, end, widths.pop())
            yield padded, {padded.core(stem): name for stem, name in zip(stems, files, strict=True)}


def _piece(end: str, frame: pd.DataFrame) -> str:
    """What the differing part of an id is called: by the word that follows it, where no column is called so."""
    word = re.sub("[^a-z]", "", end.casefold()) if not ending_of(f"x{end}") else ""
    return next(name for name in (word, *_PIECE, f"{word}_name") if name and name not in {*frame.columns, "id"})


def _by_folders(listing: Listing, frame: pd.DataFrame, column: str) -> Match | None:
    """A column that names folders of images, a row each: every image is a case of its own, or a channel."""
    values = evenly([text for text in dict.fromkeys(frame[column].str.strip()) if len(text) > 1], _TRIED)
    own = [value for value in values if value in listing.folders]
    if len(own) < max(_HALF * len(values), 2) or frame[column].nunique() < _HALF * len(frame):
        return None
    rows = {row[column].strip(): row for row in frame.to_dict("records")}
    held: dict[str, list[tuple[tuple[str, ...], tuple[str, ...]]]] = {}
    for value in own:
        files = [PurePosixPath(name).parts for name in listing.folders[value] if not listing.is_mask(name)]
        below = [(parts[: parts.index(value)], parts[parts.index(value) + 1 :]) for parts in files]
        held[value] = [(above, (*rest[:-1], _with_columns(rest[-1], rows[value], column))) for above, rest in below]
    depth = Counter((len(above), len(below)) for files in held.values() for above, below in files).most_common(1)[0][0]
    fitting = {
        value: [pair for pair in files if (len(pair[0]), len(pair[1])) == depth] for value, files in held.items()
    }
    pairs = [pair for files in fitting.values() for pair in files]
    start = [*merged_folders([above for above, _ in pairs]), "{id}"]
    each = [frozenset("/".join(below) for _, below in files) for files in fitting.values() if files]
    numbered = all(re.search(r"\d$", stem_of(name)) for name in each[0]) and len(each[0]) > 1  # slices, or views
    if len(set(each)) == 1 and len(each[0]) <= _CHANNELS and not numbered:
        names = sorted(each[0])
        templates = ["/".join([*start, name]) for name in names]
        paths = tuple([*templates, ", ".join(templates)] if len(names) > 1 else templates)
    else:
        endings = {ending_of(below[-1]) for _, below in pairs}
        file = f"{{image}}{endings.pop() if len(endings) == 1 else '.*'}"
        paths = ("/".join([*start, *merged_folders([below[:-1] for _, below in pairs]), file]),)
    example = next(name for name in listing.folders[own[0]] if not listing.is_mask(name))
    return Match(column, len(own) / len(values), paths, example=example)


def _with_columns(file: str, row: Mapping[str, str], column: str) -> str:
    """A file's name with values of its row as pieces: ``{id}_{study}_t2w.nii.gz``."""
    ending = ending_of(file)
    stem = file.removesuffix(ending)
    for name, value in sorted(row.items(), key=lambda item: -len(item[1])):
        if len(value.strip()) > 2 and "{" not in name:
            piece = "{id}" if name == column else f"{{{name}}}"
            stem = re.sub(rf"(?<![A-Za-z0-9{{]){re.escape(value.strip())}(?![A-Za-z0-9}}])", piece, stem)
    return stem + ending


def with_several_images(listing: Listing, frame: pd.DataFrame, match: Match) -> dict[str, str]:
    """Templates of the images of a row, by the columns that name them: a left and a right one; none where one does."""
    found = {}
    for column in frame.columns:
        other = match if column == match.column else match_table(listing, frame[[column]])
        plain = other and other.share >= _HALF and "," not in other.paths[0] and not other.parts and not other.folder
        if other and plain and frame[column].is_unique:
            found[column] = other.paths[0].replace("{id}", f"{{{column}}}")
    values = [text for column in found for text in frame[column]]
    return found if len(found) > 1 and match.column in found and len(set(values)) == len(values) else {}


def has_free_piece(path: str, columns: Sequence[str], parts: str) -> bool:
    """Whether a row has several images, by a piece of the path that neither the table nor the id holds."""
    return Template.is_one(path) and not set(Template(path).fields) <= {"id", *columns, *Template(parts).fields}
