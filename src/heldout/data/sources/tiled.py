"""Layouts whose cases are tiles of larger images."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heldout.data.sources.source import Source

if TYPE_CHECKING:
    import pandas as pd


class TiledSource(Source):
    """A layout whose cases are tiles: predictions of new tiles are put together to those of the images."""

    @abstractmethod
    def unlabeled(self) -> pd.DataFrame:
        """The images without a mask, which are submitted as a whole: case_id, patient_id, image and own_id of each."""

    @abstractmethod
    def pictures(self, folder: Path) -> pd.DataFrame:
        """The images below a folder of new files: case_id, patient_id, image, and ``name``, its place there."""

    @abstractmethod
    def tiles(self, name: str, path: Path) -> Iterator[dict[str, Any]]:
        """Overlapping tiles of an image, row by row, as rows of cases with the image's ``name`` and their ``box``.

        Args:
            name: What the tiles call the image.
            path: Its file.
        """
