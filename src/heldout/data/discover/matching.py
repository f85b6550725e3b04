"""Which column of a table names the images, and the template of their paths."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from heldout.data.discover.listing import MASKISH, TESTISH, Listing, ending_of, evenly, stem_of
from heldout.data.sources.table.columns import with_id
from heldout.data.sources.template import Template

if TYPE_CHECKING:
    import pandas as pd

_TRIED = 400  # values of a column that are looked up
_FEWEST = 0.02  # share of them that must be files
_HALF = 0.5
_PAIRED = 6  # columns of which two may name an image together
_CHANNEL = re.compile(r"(.+?)([_-][A-Za-z][A-Za-z0-9]*)")
_COLORS = ("red", "green", "blue")


@dataclass(frozen=True)
class Match:
    """How the values of a column name images.

    Attributes:
        column: The column.
        share: Share of its values that name one.
        paths: Templates, or the column itself; the one with most images first.
        masks: Templates of files of the same names in folders of masks.
        parts: Template of the values, where a path is made of their pieces; "" where it is not.
        folder: Whether an image is a folder of DICOM files.
        example: One of the images.
    """

    column: str
    share: float
    paths: tuple[str, ...]
    masks: tuple[str, ...] = ()
    parts: str = ""
    folder: bool = False
    example: str = ""


def match_table(listing: Listing, frame: pd.DataFrame) -> Match | None:
    """The column of a table that names most images; None where none does."""
    found = [match for name in frame.columns if (match := _match(listing, frame, name))]
    paths = [match for match in found if match.paths == (match.column,)]
    pair = _by_pair(listing, frame, found)
    if pair is not None:
        return pair
    if not found:
        ways = (way(listing, frame, name) for name in frame.columns for way in (_by_channels, _by_parts))
        return next((match for match in ways if match), None)
    distinct = {match.column: match.share * frame[match.column].nunique() for match in found}
    return max(paths or found, key=lambda match: distinct[match.column])


def path_columns(listing: Listing, frame: pd.DataFrame) -> list[str]:
    """Columns that hold paths of images."""
    return [name for name in frame.columns if (match := _match(listing, frame, name)) and match.paths == (name,)]


def templates(listing: Listing, rows: Sequence[Mapping[str, str]], column: str, whole: bool) -> list[tuple[str, int]]:
    """Templates of the images that the rows name, and how many each has, most first.

    Args:
        listing: The files.
        rows: Rows of the table.
        column: Column whose value is a file's name.
        whole: Whether with its ending.
    """
    groups: dict[tuple[str, int], list[tuple[str, tuple[str, ...]]]] = defaultdict(list)
    for row in rows:
        value = row[column].strip()
        for name in listing.by_stem.get(stem_of(value) if whole else value, []):
            if whole and PurePosixPath(name).name != value:
                continue
            shown = tuple(component(part, row, column) for part in PurePosixPath(name).parts[:-1])
            groups["" if whole else ending_of(name), len(shown)].append((value, shown))
    found: list[tuple[str, int]] = []
    for (ending, _), hits in groups.items():
        for part in _without_conflicts(hits):
            folders = [_merged(pieces) for pieces in zip(*(folder for _, folder in part), strict=True)]
            found.append(("/".join([*folders, f"{{id}}{ending}"]), len(part)))
    return sorted(found, key=lambda one: -one[1])


def unlabeled_places(text: str, names: Sequence[str] = ()) -> list[str]:
    """Where unlabeled images may lie, by the template of the training images.

    Args:
        text: The template.
        names: Files, whose folders may be called otherwise: ``b. Testing Set`` beside ``a. Training Set``.
    """
    moved = [_renamed(text, word) for word in ("test", "testing", "val", "validation")]
    for place, piece in enumerate(text.split(", ")[0].split("/")[:-1]):
        if re.search("train", piece, re.IGNORECASE):
            folders = {name.split("/")[place] for name in names if name.count("/") > place}
            moved += [text.replace(piece, folder) for folder in sorted(folders) if TESTISH.search(folder)]
    return [one for one in (*moved, text.replace("imagesTr", "imagesTs")) if one != text]


def _renamed(text: str, word: str) -> str:
    """A path with another word for its part, in the case of what stands there: ``TrainingData``, ``ValidationData``."""
    return re.sub(
        "train(ing)?", lambda found: word.capitalize() if found[0][0].isupper() else word, text, flags=re.IGNORECASE
    )


def _match(listing: Listing, frame: pd.DataFrame, column: str) -> Match | None:
    values = evenly([text for text in dict.fromkeys(frame[column].str.strip()) if text], _TRIED)
    if not values or (set(values) <= {"0", "1"} and len(frame) > len(values)):  # labels, where images are numbered
        return None
    if "/" in "".join(values[:20]):
        return _by_path(listing, column, values)
    stems, whole = listing.by_stem, any(ending_of(value) for value in values)
    own = [value for value in values if (stem_of(value) if whole else value) in stems]
    folders = [value for value in values if value in listing.series]
    if len(folders) > len(own):
        paths = templates_of_folders(listing, folders)
        return Match(column, len(folders) / len(values), paths, folder=True, example=listing.series[folders[0]][0])
    if len(own) < max(_FEWEST * len(values), 2):
        return None
    chosen = frame[frame[column].str.strip().isin(set(own))].drop_duplicates(column).to_dict("records")
    found = templates(listing, chosen, column, whole)
    if not found:
        return None
    masks = [text for text, _ in found if MASKISH.search(text.rpartition("/")[0])]
    images = [text for text, count in found if text not in masks and count >= _HALF * found[0][1]]
    if not images:
        return None
    example = next(name for name in stems[stem_of(own[0]) if whole else own[0]])
    return Match(column, len(own) / len(values), tuple(images), tuple(masks), example=example)


def templates_of_folders(listing: Listing, values: Sequence[str]) -> tuple[str, ...]:
    """Templates of folders of DICOM files that are called by the values, or lie in folders called so."""
    groups: dict[tuple[str, ...], list[tuple[str, ...]]] = defaultdict(list)
    for value in values:
        for folder in listing.series[value]:
            parts = PurePosixPath(folder).parts
            place = parts.index(value)
            groups[parts[place + 1 :]].append(parts[:place])
    largest = max(map(len, groups.values()))
    found = []
    for below, above in groups.items():
        same = [parts for parts in above if len(parts) == len(above[0])]
        if len(same) >= _HALF * largest:
            found.append("/".join([*(_merged(pieces) for pieces in zip(*same, strict=True)), "{id}", *below]))
    if largest == 1:  # each folder below has a name of its own
        above = [parts for members in groups.values() for parts in members]
        same = [parts for parts in above if len(parts) == len(above[0])]
        deeper = ["*"] * len(next(iter(groups)))
        if any(len(listing.series[value]) > 1 for value in values):  # each is a case
            deeper[-1] = "{series}"
        found = ["/".join([*(_merged(pieces) for pieces in zip(*same, strict=True)), "{id}", *deeper])]
    return tuple(found)


def _by_path(listing: Listing, column: str, values: Sequence[str]) -> Match | None:
    """A column of paths, which may begin above the folder."""
    known = set(listing.images)
    plain = [value for value in values if value in known]
    if len(plain) >= _HALF * len(values):
        return Match(column, len(plain) / len(values), (column,), example=plain[0])
    for dropped in (1, 2, 3):
        own = [value for value in values if "/".join(value.lstrip("./").split("/")[dropped:]) in known]
        depths = {len(value.split("/")) for value in own}
        if len(own) >= _HALF * len(values) and len(depths) == 1:
            pieces = list(zip(*(value.split("/") for value in own), strict=True))
            named = _named_pieces(pieces)
            parts, path = "/".join(named), "/".join(named[dropped:])
            return Match(column, len(own) / len(values), (path,), parts=parts, example=own[0].split("/", dropped)[-1])
    return None


def _named_pieces(pieces: Sequence[Sequence[str]]) -> list[str]:
    """A template's piece for every place of the paths: what all share, or a name."""
    found: list[str] = []
    for values in pieces[:-1]:
        start = re.match(r"[A-Za-z]+", start_of(values))
        name = start[0].rstrip("_").casefold() if start else f"folder{len(found)}"
        same = len(set(values)) == 1
        found.append(values[0] if same else "{" + (name if f"{{{name}}}" not in found else f"{name}{len(found)}") + "}")
    return [*found, "{file}"]


def _by_pair(listing: Listing, frame: pd.DataFrame, found: Sequence[Match]) -> Match | None:
    """Two columns that name an image together, ``{subject}_{img}``, where no column names most rows' by itself."""
    if any(match.share * frame[match.column].nunique() >= _HALF * len(frame) for match in found):
        return None
    columns = [
        name for name in frame.columns if name and "{" not in name and frame[name].str.fullmatch(r"[\w-]{1,40}").all()
    ]
    for first, second in permutations(columns[:_PAIRED], 2):
        for separator in "_-":
            key = f"{{{first}}}{separator}{{{second}}}"
            whole = with_id(frame, key)
            if whole[key].nunique() == len(whole):
                match = _match(listing, whole, key)
                if match is not None and match.share >= _HALF:
                    return match
    return None


def _by_channels(listing: Listing, frame: pd.DataFrame, column: str) -> Match | None:
    """A column whose values are what several files' names begin with, one per channel: ``{id}_red.png``."""
    files: dict[str, dict[str, str]] = defaultdict(dict)
    for name in listing.images:
        if found := _CHANNEL.fullmatch(stem_of(name)):
            files[found[1]][found[2]] = name
    values = evenly([text for text in dict.fromkeys(frame[column].str.strip()) if text], _TRIED)
    own = [value for value in values if value in files]
    if len(own) < max(_HALF * len(values), 2):
        return None
    kinds = set.intersection(*(set(files[value]) for value in own))
    ordered = sorted(kinds, key=lambda kind: (_COLORS.index(kind[1:]) if kind[1:] in _COLORS else len(_COLORS), kind))
    paths = {}
    for kind in ordered:
        folders = zip(*(PurePosixPath(files[value][kind]).parts[:-1] for value in own), strict=False)
        shown = [
            _merged(["{id}" if part == value else part for part, value in zip(parts, own, strict=True)])
            for parts in folders
        ]
        paths[kind] = "/".join([*shown, f"{{id}}{kind}{ending_of(files[own[0]][kind])}"])
    images = [path for kind, path in paths.items() if not MASKISH.search(kind)]
    masks = tuple(path for kind, path in paths.items() if MASKISH.search(kind))
    if not images:
        return None
    return Match(column, len(own) / len(values), (", ".join(images),), masks, example=files[own[0]][ordered[0]])


def _by_parts(listing: Listing, frame: pd.DataFrame, column: str) -> Match | None:
    """A column whose pieces are names of folders and files: ``case7_day20_slice_0065`` in ``case7/case7_day20/``."""
    values = evenly([text for text in dict.fromkeys(frame[column].str.strip()) if "_" in text], _TRIED)
    if len(values) < 2 or len({value.count("_") for value in values}) != 1:
        return None
    pieces = list(zip(*(value.split("_") for value in values), strict=True))
    names, last = [], ""
    for number, piece in enumerate(pieces):
        if len(set(piece)) == 1:
            last = piece[0].casefold()
            names.append(piece[0])
            continue
        start = re.match(r"[A-Za-z]+", start_of(piece))
        names.append("{" + (start[0].casefold() if start else last or f"part{number}") + "}")
    parts = "_".join(names)
    fields = Template(parts).fields
    if not fields or len(fields) != sum(name.startswith("{") for name in names):
        return None
    hits: dict[str, int] = defaultdict(int)
    example = {}
    for value in evenly(values, 60):
        known = Template(parts).match(value) or {}
        for name in listing.images:
            if all(piece in name for piece in known.values()) and (text := _shape(name, known)):
                hits[text] += 1
                example[text] = name
    best = max(hits, key=lambda text: hits[text], default="")
    if not best or hits[best] < _HALF * len(evenly(values, 60)):
        return None
    return Match(column, min(hits[best] / len(evenly(values, 60)), 1.0), (best,), parts=parts, example=example[best])


def _shape(name: str, pieces: Mapping[str, str]) -> str:
    """A path with the pieces of an id in it as a template; "" unless all are there, the last one in the file's name."""
    ending, found = ending_of(name), name.removesuffix(ending_of(name))
    for field, value in pieces.items():
        found = re.sub(rf"(?<![A-Za-z0-9]){re.escape(value)}(?![A-Za-z0-9])", "{" + field + "}", found)
    last = found.rpartition("/")[2]
    if set(Template(found).fields) != set(pieces) or not Template.is_one(last):
        return ""
    end = last.rindex("}") + 1
    rest = "*" if last[end:] else ""
    return found[: len(found) - len(last)] + last[:end] + ("_" if last[end : end + 1] == "_" else "") + rest + ending


def component(part: str, row: Mapping[str, str], column: str) -> str:
    """A folder's name, or the column whose value it is."""
    for name, value in row.items():
        if value.strip() == part and len(part) > 1 and "/" not in name:
            return "{id}" if name == column else f"{{{name}}}"
    return part


def _merged(pieces: Sequence[str]) -> str:
    """One name for folders: theirs, or what their names begin with and ``*``."""
    same = set(pieces)
    if len(same) == 1:
        return pieces[0]
    start = re.sub(r"[\d.]+$", "", start_of(pieces))
    return "*" if "{" in start or not re.search(r"[A-Za-z]", start) else start + "*"


def merged_folders(paths: Sequence[Sequence[str]]) -> list[str]:
    """One name for the folders at each depth of paths of one length."""
    return [_merged(pieces) for pieces in zip(*paths, strict=True)]


def start_of(texts: Sequence[str]) -> str:
    """What all texts begin with."""
    low, high = min(texts), max(texts)
    length = next((n for n, (one, other) in enumerate(zip(low, high, strict=False)) if one != other), len(low))
    return low[:length]


def _without_conflicts(hits: list[tuple[str, tuple[str, ...]]]) -> list[list[tuple[str, tuple[str, ...]]]]:
    """The hits together, or by folder where a value has files in several."""
    if len({value for value, _ in hits}) == len(hits):
        return [hits]
    apart: dict[tuple[str, ...], list[tuple[str, tuple[str, ...]]]] = defaultdict(list)
    for value, folder in hits:
        apart[folder].append((value, folder))
    return list(apart.values())
