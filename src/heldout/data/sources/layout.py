"""What layouts have in common: kinds of files, natural order, ids of cases, folders and tables."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import json
import math
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from heldout.errors import UserError
from heldout.files import require_regular

if TYPE_CHECKING:
    import pandas as pd

IMAGE_ENDINGS = {2: (".png", ".jpg", ".jpeg", ".tif", ".tiff"), 3: (".nii", ".nii.gz", ".mhd", ".mha")}
FORMATS = {2: ("png", "jpeg", "tiff", "dicom"), 3: ("nifti", "metaimage")}
DICOM_ENDINGS = (".dcm", ".dicom", ".ima")
_NEVER_READ = (
    *(".gif", ".bmp", ".webp", ".heic", ".heif", ".avif", ".jp2", ".j2k", ".jxl", ".pgm", ".ppm", ".svs", ".ndpi"),
    *(".nrrd", ".nhdr", ".mgh", ".mgz", ".mnc", ".hdr"),  # an .img lies beside its header
)
_WORDS = {"": math.nan, "nan": math.nan, "true": 1.0, "false": 0.0}  # of a label, as pandas writes them
_LISTED = 3  # unused images of a folder that are named one by one
_PLAINLY_IMAGES = (*IMAGE_ENDINGS[2], *IMAGE_ENDINGS[3], *DICOM_ENDINGS, *_NEVER_READ)


def names_of(text: str, separator: str = ",") -> list[str]:
    """Names that an option lists."""
    return [name.strip() for name in text.split(separator) if name.strip()]


def natural_key(text: str) -> list[tuple[int, int | str]]:
    """Sort key by which slice 2 comes before slice 10, and case does not matter until the end."""
    parts = re.split(r"(\d+)", text.casefold())
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in parts] + [(2, text)]


def in_natural_order(paths: Iterable[Path], folder: Path) -> list[Path]:
    """Files sorted by their paths below a folder."""
    return sorted(paths, key=lambda path: natural_key(path.relative_to(folder).as_posix()))


def identifier(text: str) -> str:
    """``text`` with every character that a case id may not have replaced by an underscore.

    Example:
        >>> identifier("scan 7 (left)")
        'scan_7_left'
    """
    return re.sub(r"[^A-Za-z0-9._-]+", "_", text).strip("_.") or "case"


def class_names(names: Sequence[str], where: Path) -> tuple[str, ...]:
    """Names of classes without characters that columns and files cannot bear.

    Args:
        names: As the dataset writes them.
        where: The file or folder that does, for the message.

    Raises:
        UserError: two of them become the same name.

    Example:
        >>> class_names(["Large Bowel", "Stomach"], Path("train.csv"))
        ('Large_Bowel', 'Stomach')
    """
    classes = tuple(map(identifier, names))
    for position, name in enumerate(classes):
        if (first := classes.index(name)) < position:
            raise UserError(
                f"{where} has the classes {names[first]!r} and {names[position]!r}, which are both called {name} here: "
                "rename one of them"
            )
    return classes


def unique_ids(names: Iterable[str]) -> list[str]:
    """Case ids of file names: path and name without the ending, told apart by a hash where two would be the same.

    Names that differ in their ending, their letter case or in characters that an id may not have count as the same.

    Example:
        >>> unique_ids(["a/1.png", "a/2.nii.gz", "b 1.png", "b_1.jpg"])
        ['a_1', 'a_2', 'b_1-c59cf83e', 'b_1-f97d486e']
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


def image_paths(text: str) -> list[str]:
    """Paths that an ``image`` or ``mask`` text of the case table names: a list of :func:`as_list`, or one path."""
    return json.loads(text) if text.startswith("[") else [text]


def folder_with(root: Path, entry: str) -> Path | None:
    """The folder that holds ``entry``: the root, or one up to two levels below it, as archives are often unpacked."""
    for pattern in ("", "*", "*/*"):
        for folder in sorted(root.glob(pattern) if pattern else [root]):
            if (folder / entry).exists():
                return folder
    return None


def visible_files(folder: Path) -> Iterator[Path]:
    """Files at any depth below a folder; hidden ones, and what macOS adds to archives, are left out."""
    for path in folder.rglob("*"):
        hidden = any(part.startswith((".", "__MACOSX")) for part in path.relative_to(folder).parts)
        if not hidden and path.is_file():
            yield path


def strange_images(folder: Path, endings: tuple[str, ...]) -> list[Path]:
    """Files below a folder that their names say to be images, but without one of these endings, in natural order."""
    images = [path for path in visible_files(folder) if path.name.lower().endswith(_PLAINLY_IMAGES)]
    return in_natural_order([path for path in images if not path.name.lower().endswith(endings)], folder)


def unused_images(root: Path, used: Iterable[Path], found: Sequence[str]) -> list[str]:
    """A line on every image that belongs to no case, or on every folder of such images.

    Args:
        root: Folder of the dataset.
        used: Files and folders of the cases.
        found: Lines that name some of them already.
    """
    used = set(used)
    busy = {parent for path in used for parent in path.parents}
    named = {word.rstrip(":,;") for line in found for word in line.split()}
    places: dict[Path, list[Path]] = {}
    for path in visible_files(root):
        name, above = path.relative_to(root).as_posix(), list(path.parents)[: len(path.relative_to(root).parts) - 1]
        if not path.name.lower().endswith(_PLAINLY_IMAGES) or path in used or used & set(above) or name in named:
            continue
        idle = [folder for folder in above if folder not in busy]
        places.setdefault(idle[-1] if idle else path.parent, []).append(path)
    lines = []
    for place in in_natural_order(places, root):
        paths = in_natural_order(places[place], root)
        if len(paths) <= _LISTED:
            lines += [
                f"{path.relative_to(root).as_posix()} belongs to no case and is not used: rename it as the layout "
                f"asks, or delete it"
                for path in paths
            ]
        else:
            lines.append(
                f"{place.relative_to(root).as_posix()}/ holds {len(paths)} images that belong to no case and are not "
                f"used, such as {paths[0].name}"
            )
    return lines


def chosen_file(root: Path, name: str, present: Iterable[Path], kind: str) -> Path:
    """The file that the option ``file`` names, or the only one that there is.

    Args:
        root: Folder of the dataset.
        name: The option; "" where it is not set.
        present: Files of the kind in the folder.
        kind: What they are, for the message.

    Raises:
        UserError: the named file does not exist, or there is not exactly one.
    """
    found = in_natural_order(present, root)
    if name and not (root / name).is_file():
        raise UserError(f"{root / name} does not exist: correct source_options file")
    if not name and len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise UserError(f"{root} must hold one {kind} but has {names}: name it in source_options file")
    return root / name if name else found[0]


def read_table(path: Path, columns: Sequence[str] = (), remedy: str = "restore it from its source") -> pd.DataFrame:
    """A table with every value as the text that it is in the file: ``001``, ``NA`` and ``1e5`` stay so.

    Args:
        path: The file, in UTF-8: values separated by what its first line has most of, commas, semicolons or tabs.
        columns: Columns that it must have.
        remedy: What to do where one is missing.

    Raises:
        UserError: the file cannot be read, is not such a table, or lacks a column.
    """
    import pandas as pd

    require_regular(path, "name a table")
    try:
        with warnings.catch_warnings(), path.open(encoding="utf-8-sig", newline="") as lines:
            first = lines.readline()
            separator = max(",;\t", key=first.count)
            lines.seek(0)
            header = [name.strip() for name in next(csv.reader(lines, delimiter=separator), [])]
            warnings.simplefilter("error", pd.errors.ParserWarning)  # of rows with more values than there are columns
            frame = pd.read_csv(
                path,
                sep=separator,
                dtype=str,
                na_filter=False,
                index_col=False,
                encoding="utf-8-sig",
            ).rename(columns=str.strip)
    except (OSError, ValueError, csv.Error, pd.errors.ParserWarning) as error:
        raise UserError(f"{path} cannot be read as a table ({str(error).strip()}): save it as UTF-8 CSV") from None
    # columns without a name and without content come of commas at the ends of the lines
    unnamed = [place for place, name in enumerate(header) if not name and (frame.iloc[:, place] == "").all()]
    frame = frame.drop(columns=frame.columns[unnamed])
    header = [name for place, name in enumerate(header) if place not in unnamed]
    if repeated := [name for place, name in enumerate(header) if name in header[:place]]:
        raise UserError(f"{path} has two columns {repeated[0]!r}: rename or remove one")
    for name in columns:
        if name not in frame.columns:
            if len(header) == 1 and "|" in header[0]:
                remedy = "its columns are separated by '|', save it with commas"
            raise UserError(f"{path} has no column {name!r}: it has {', '.join(frame.columns)}; {remedy}")
    return frame


def label_value(text: str) -> float | None:
    """Value of a label, NaN where it is unknown; None for a text that is not a label."""
    text = text.strip().lower()
    with contextlib.suppress(ValueError):
        value = _WORDS[text] if text in _WORDS else float(text)
        return value if math.isnan(value) or value in (0, 1) else None
    return None


def number_value(text: str, column: str, where: str) -> float:
    """A number to predict, NaN where it is unknown.

    Raises:
        UserError: it is not a finite number.
    """
    try:
        value = float(text or "nan")
    except ValueError:
        raise UserError(
            f"{where} has {column} = {text!r}: a target is a number, or empty where it is unknown"
        ) from None
    if math.isinf(value):
        raise UserError(f"{where} has {column} = {text!r}: a target must be finite")
    return value
