"""A dataset that was unpacked: its true masks are there, its raw images are not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from heldout.data.image import BadFile, Image, file_state
from heldout.data.pack.codec import decode
from heldout.data.records import SCHEMA, UnpackedRecord, read_csv
from heldout.data.signature import content_hash
from heldout.data.sources import Source
from heldout.errors import UserError
from heldout.records import read_record

if TYPE_CHECKING:
    import pandas as pd

RECORD = "packed.json"


class PackedSource(Source):
    """Stands for the raw dataset of an unpacked one.

    Args:
        folder: The checked dataset, which holds ``packed.json`` and ``truth/``.
        record: Its ``packed.json``.
    """

    classes: tuple[str, ...] = ()
    exclusive: bool = True
    kind: Literal["classification", "segmentation", "regression"] = "segmentation"
    caveats: tuple[str, ...] = ()

    def __init__(self, folder: Path, record: UnpackedRecord) -> None:
        self._about = about = record.source
        self.folder, self.truths = folder, record.truth
        self.classes, self.exclusive, self.caveats = about.classes, about.exclusive, about.caveats
        self.dimensions, self.kind = about.dimensions, about.kind
        super().__init__(folder / "truth")

    @property
    def own_folds(self) -> bool:
        """Whether the raw dataset came with its folds."""
        return self._about.own_folds

    @property
    def ignores(self) -> bool:
        """True: whether a mask ignores anything shows in it alone."""
        return True

    def folds(self) -> dict[str, int]:
        """Fold of every training case, as it was packed."""
        table = read_csv(self.folder / "folds.csv", {"case_id": str, "fold": int})
        return dict(zip(table["case_id"], table["fold"], strict=True))

    def index(self) -> pd.DataFrame:
        """Refuse: what the raw dataset lists can only be said where it is.

        Raises:
            UserError: always.
        """
        raise UserError(
            f"{self.folder} was unpacked without its raw files: check and split it where the raw dataset is"
        )

    def read_image(self, row: Mapping[str, Any], *, salvage: bool = False) -> Image:  # noqa: ARG002 - see above
        """Refuse: images are there as prepared arrays only.

        Raises:
            BadFile: always.
        """
        raise BadFile(
            f"case {row['case_id']} was unpacked without its raw image, and not with arrays of these settings: pack "
            "the experiment where the raw dataset is, or work there"
        )

    def read_mask(self, row: Mapping[str, Any]) -> np.ndarray:
        """True mask (M, *spatial) of a training case, on the grid of its own file.

        Raises:
            BadFile: the case's mask was not packed.
            UserError: its file is missing or damaged.
        """
        case_id = row["case_id"]
        if case_id not in self.truths:
            raise BadFile(f"case {case_id} was packed without a mask: only masks of the train part travel")
        about = self.truths[case_id]
        path = self.root / truth_name(case_id)
        try:
            data = b"" if about.codec == "empty" else path.read_bytes()
        except FileNotFoundError:
            raise UserError(f"{path} is missing: unpack the dataset again") from None
        return decode(data, about, str(path))

    def verify(self, cases: pd.DataFrame) -> None:
        """Check that every mask is the one that was packed; read again only what looks changed since then.

        Args:
            cases: ``cases.parquet``, whose ``mask_hash`` says what the masks must be.

        Raises:
            UserError: a file is missing or holds another mask.
        """
        for row in cases[cases["case_id"].isin(list(self.truths))].to_dict("records"):
            about, path = self.truths[row["case_id"]], self.root / truth_name(row["case_id"])
            if about.codec != "empty" and path.exists() and file_state(path) == about.state:
                continue
            if content_hash(self.read_mask(row)) != row["mask_hash"]:
                raise UserError(f"{path} (case {row['case_id']}) is not the mask that was packed: unpack it again")

    def _rows(self, found: list[str]) -> Iterable[dict[str, Any]]:  # noqa: ARG002 - see index
        return []


def packed_source(folder: Path) -> PackedSource | None:
    """The source of an unpacked dataset; None for one that was made here, from raw files."""
    path = folder / RECORD
    if not path.exists():
        return None
    return PackedSource(folder, read_record(path, UnpackedRecord, SCHEMA, "unpack the dataset again"))


def truth_name(case_id: str) -> str:
    """File name of a case's mask."""
    return f"{case_id}.mask"
