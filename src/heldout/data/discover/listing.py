"""The files of a folder by their kind, read from their names once."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from heldout.data.sources.layout import DICOM_ENDINGS, IMAGE_ENDINGS, natural_key, read_table, visible_files
from heldout.data.sources.table.columns import SAMPLE
from heldout.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

IMAGES_2D = (*IMAGE_ENDINGS[2], ".gif")
VOLUMES = IMAGE_ENDINGS[3]
IMAGES = (*IMAGES_2D, *VOLUMES, *DICOM_ENDINGS)
MASKISH = re.compile(
    r"(^|[^a-z])(masks?|seg|segs|segmentations?|labels?(tr)?|gts?|ground(.?truths?)?|gold.?standards?|annotations?|manual\d*|lesions?|msk|roi)"
    r"($|[^a-z])",
    re.IGNORECASE,
)
TESTISH = re.compile(r"(^|[^a-z])(test|testing|imagests)($|[^a-z])", re.IGNORECASE)
_CELLS, _LONGEST = 5, 40  # of a row that is shown
_DEEPEST_TABLE = 3


def stem_of(name: str) -> str:
    """Last part of a path without the ending of an image."""
    last = PurePosixPath(name).name
    ending = ending_of(name)
    return last[: len(last) - len(ending)] if ending else PurePosixPath(last).stem


def ending_of(name: str) -> str:
    """Ending of an image as it is written, or ""."""
    found = max((ending for ending in IMAGES if name.lower().endswith(ending)), key=len, default="")
    return name[len(name) - len(found) :] if found else ""


@dataclass(frozen=True, eq=False)
class Listing:
    """A folder's files.

    Attributes:
        root: The folder.
    """

    root: Path

    @cached_property
    def names(self) -> list[str]:
        """Files as paths relative to the folder, in natural order."""
        found = (path.relative_to(self.root).as_posix() for path in visible_files(self.root))
        return sorted(found, key=natural_key)

    @cached_property
    def images(self) -> list[str]:
        """Files that are images by their ending."""
        return [name for name in self.names if ending_of(name)]

    @cached_property
    def by_stem(self) -> dict[str, list[str]]:
        """Images by their name without folder and ending."""
        found = defaultdict(list)
        for name in self.images:
            found[stem_of(name)].append(name)
        return dict(found)

    @cached_property
    def series(self) -> dict[str, list[str]]:
        """Folders of two or more DICOM files, by their own name and those of the folders above."""
        count: dict[str, int] = defaultdict(int)
        for name in self.images:
            if name.lower().endswith(DICOM_ENDINGS):
                count[str(PurePosixPath(name).parent)] += 1
        found = defaultdict(list)
        for folder, number in count.items():
            if number > 1:
                for part in PurePosixPath(folder).parts:
                    found[part].append(folder)
        return dict(found)

    @cached_property
    def folders(self) -> dict[str, list[str]]:
        """Images by the names of the folders that hold them, at any depth."""
        found = defaultdict(list)
        for name in self.images:
            for part in dict.fromkeys(PurePosixPath(name).parts[:-1]):
                found[part].append(name)
        return dict(found)

    @cached_property
    def common(self) -> int:
        """Number of folders that all images share."""
        parts = [PurePosixPath(name).parts[:-1] for name in self.images]
        return next(
            (n for n, pieces in enumerate(zip(*parts, strict=False)) if len(set(pieces)) > 1), min(map(len, parts))
        )

    def is_mask(self, name: str) -> bool:
        """Whether a file's name, or a folder that not all images share, says that it is a mask."""
        own = "/".join(PurePosixPath(name).parts[self.common :])
        return MASKISH.search(own[: len(own) - len(ending_of(name))]) is not None

    @cached_property
    def samples(self) -> list[str]:
        """Sample submissions."""
        return [name for name in self._table_names if SAMPLE.search(PurePosixPath(name).name)]

    @cached_property
    def tables(self) -> dict[str, pd.DataFrame]:
        """Tables by their name, sample submissions left out.

        Raises:
            UserError: one cannot be read.
        """
        names = [name for name in self._table_names if name not in self.samples]
        frames = {name: read_table(self.root / name) for name in names}
        return {name: frame for name, frame in frames.items() if len(frame) and len(frame.columns) > 1}

    def sample(self) -> pd.DataFrame | None:
        """The sample submission, where there is exactly one that can be read."""
        if len(self.samples) != 1:
            return None
        try:
            return read_table(self.root / self.samples[0])
        except UserError:
            return None

    @cached_property
    def _table_names(self) -> list[str]:
        return [
            name
            for name in self.names
            if name.lower().endswith((".csv", ".tsv")) and len(PurePosixPath(name).parts) <= _DEEPEST_TABLE
        ]


def first_cells(frame: pd.DataFrame) -> str:
    """Some cells of the first row of a table, with their columns: ``person = aaaa, sick = 0``."""
    return ", ".join([f"{name} = {text[:_LONGEST]}" for name, text in frame.iloc[0].items()][:_CELLS])


def evenly(items: list, most: int) -> list:
    """At most so many items, spread over all of them."""
    return items if len(items) <= most else [items[i * len(items) // most] for i in range(most)]
