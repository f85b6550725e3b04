"""The truth of the locked test part. Only the command that scores a sealed decision may open it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from heldout.data.dataset import Dataset
from heldout.data.sources import Source
from heldout.errors import UserError


@dataclass(frozen=True, eq=False)
class Sealed:
    """Labels and masks of the test part.

    Attributes:
        labels: case_id and ``y_<class>`` of every test case.
    """

    labels: pd.DataFrame
    _rows: pd.DataFrame
    _source: Source

    def truth(self, case_id: str) -> np.ndarray:
        """Mask of a test case on the grid of its file, uint8 (M, *spatial).

        Raises:
            UserError: the case is not in the test part.
        """
        return self._source.read_mask(self.row(case_id))

    def row(self, case_id: str) -> pd.Series:
        """Row of a test case, with its mask.

        Raises:
            UserError: the case is not in the test part.
        """
        rows = self._rows[self._rows["case_id"] == case_id]
        if rows.empty:
            raise UserError(f"case {case_id} is not in the test part: check its id")
        return rows.iloc[0]


def open_sealed(dataset: Dataset) -> Sealed:
    """Open the truth of the test part of a dataset."""
    rows = read_sealed(dataset.folder)
    labels = rows[["case_id", *(f"y_{name}" for name in dataset.classes)]]
    return Sealed(labels, rows, dataset.source)


def read_sealed(folder: Path) -> pd.DataFrame:
    """Table of test cases: case_id, image, mask, mask_hash and ``y_<class>``."""
    return pd.read_parquet(folder / "sealed.parquet")
