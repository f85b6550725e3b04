"""A checked dataset: its cases, their parts and their folds."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from heldout import files
from heldout.data.folds import choose_fraction
from heldout.data.image import Image
from heldout.data.sources import Source
from heldout.errors import UserError


@dataclass(frozen=True, eq=False)
class Dataset:
    """Checked cases, each in exactly one part, and the folds of the training part.

    Attributes:
        folder: Where the tables and prepared arrays lie.
        source: Reads the raw files.
        classes: Names of the target classes.
        exclusive: Whether only one class can hold at a time.
        dimensions: Spatial axes, 2 or 3.
        cases: case_id, patient_id, group_id, split, image, mask, y_<class> and content_hash of all parts; labels are
            NaN and masks "" outside the training part.
        folds: Fold of every training case, indexed by case_id.
        fold_hash: SHA-256 of the fold table.
        data_hash: SHA-256 of what the cases are: ids, parts, pixels, masks and labels.
    """

    folder: Path
    source: Source
    classes: tuple[str, ...]
    exclusive: bool
    dimensions: int
    cases: pd.DataFrame
    folds: pd.Series
    fold_hash: str
    data_hash: str

    @cached_property
    def _position(self) -> dict[str, int]:
        return {case_id: position for position, case_id in enumerate(self.cases["case_id"])}

    @cached_property
    def truth_hash(self) -> str:
        """SHA-256 of what is scored of the training part, however its images are read: ids, patients, labels, masks."""
        stored = pd.read_parquet(self.folder / "cases.parquet")  # which has the hashes of the masks
        scored = stored[stored["split"] == "train"]
        columns = ["case_id", "patient_id", "mask_hash", *(f"y_{name}" for name in self.classes)]
        return files.sha256_json(scored[columns].astype(object).where(lambda f: f.notna(), None).to_numpy().tolist())

    def part(self, split: str) -> pd.DataFrame:
        """Cases of one part: ``train``, ``test``, ``submit`` or ``extra``."""
        return self.cases[self.cases["split"] == split].reset_index(drop=True)

    def fold_cases(self, fold: int, fraction: float = 1.0) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Cases to train on, those of an extra dataset among them, and cases to validate on.

        Args:
            fold: The fold held out.
            fraction: Share of the training patients to use; every class keeps one at least. The validation cases
                are always all of them.

        Raises:
            UserError: there is no such fold.
        """
        if fold not in set(self.folds):
            raise UserError(f"fold {fold} does not exist: this dataset has the folds 0 ... {self.folds.max()}")
        train = self.part("train")
        held_out = train["case_id"].map(self.folds) == fold
        training, validation = train[~held_out], train[held_out]
        training = pd.concat([training, self.part("extra")], ignore_index=True)
        if fraction < 1:
            training = training[training["group_id"].isin(choose_fraction(training, fraction))]
        return training.reset_index(drop=True), validation.reset_index(drop=True)

    def row(self, case_id: str) -> pd.Series:
        """The case's row.

        Raises:
            UserError: there is no such case.
        """
        if case_id not in self._position:
            raise UserError(f"case {case_id} is not in {self.folder / 'cases.parquet'}: check its id")
        return self.cases.iloc[self._position[case_id]]

    def read_image(self, case_id: str) -> Image:
        """Read a case's raw image; a damaged image to be submitted is read as far as it goes."""
        row = self.row(case_id)
        return self.source.read_image(row, salvage=row["split"] == "submit")

    def truth(self, case_id: str) -> np.ndarray:
        """Mask of a training case on the grid of its file, uint8 (M, *spatial).

        Raises:
            UserError: the case's truth is sealed or unknown.
        """
        row = self.row(case_id)
        if row["split"] not in ("train", "extra"):
            raise UserError(f"case {case_id} is in the {row['split']} part: its labels are sealed")
        return self.source.read_mask(row)
