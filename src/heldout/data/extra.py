"""External data: the cases of another dataset that train in every fold and are never scored."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from heldout.data.checks import CaseProblem, first_file
from heldout.data.image import Image
from heldout.data.sources import Source, source_class
from heldout.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    from heldout.config import BaseConfig

EXTRA = "extra"  # the part
_MARK = "extra:"  # begins the texts of such a case's image and mask in the index


class WithExtra(Source):
    """A source, and the labeled cases of another one beside its own."""

    classes: tuple[str, ...] = ()
    exclusive: bool = True
    kind: Literal["classification", "segmentation", "regression"] = "segmentation"
    caveats: tuple[str, ...] = ()

    def __init__(self, main: Source, other: Source, name: str) -> None:
        """Check that both have the same kind of cases.

        Raises:
            UserError: they differ in classes, axes or kind; the message names both.
        """
        super().__init__(main.root)
        for what in ("dimensions", "kind", "classes", "exclusive"):
            ours, theirs = getattr(main, what), getattr(other, what)
            if ours != theirs:
                raise UserError(
                    f"extra {name} has {what} = {theirs!r}, {main.root.name} has {ours!r}: correct extra_source and "
                    f"extra_options so that both agree"
                )
        self.main, self.other, self.name = main, other, name
        self.classes, self.exclusive, self.kind, self.caveats = main.classes, main.exclusive, main.kind, main.caveats
        self.dimensions, self.swaps, self.rle, self.other_files = (
            main.dimensions,
            main.swaps,
            main.rle,
            main.other_files,
        )

    def __getattr__(self, name: str) -> Any:
        """What only the dataset's own layout knows."""
        if name == "main" or name.startswith("__"):  # while it is unpickled there is none yet
            raise AttributeError(name)
        return getattr(self.main, name)

    def index(self) -> pd.DataFrame:
        """Cases of both; ids and patients of the other ones begin with the dataset's name."""
        import pandas as pd

        ours, theirs = self.main.index(), self.other.index()
        theirs = theirs[theirs["split"] != "submit"].copy()
        if theirs.empty:
            raise UserError(f"extra {self.name} holds no labeled case: name a dataset with labels")
        prefix = self.name.strip("/").replace("/", "_")
        for column in ("case_id", "patient_id"):
            theirs[column] = prefix + "-" + theirs[column]
        for column in ("image", "mask"):
            theirs[column] = [_MARK + text if text else "" for text in theirs[column]]
        return pd.concat([ours, theirs.assign(split=EXTRA)], ignore_index=True)

    def tables(self) -> list[Path]:
        """Tables of both."""
        return [*self.main.tables(), *self.other.tables()]

    def own_ids(self) -> Mapping[str, str]:
        """Of the dataset's own cases."""
        return self.main.own_ids()

    @property
    def own_folds(self) -> bool:
        """Of the dataset's own cases."""
        return self.main.own_folds

    def folds(self) -> Mapping[str, int]:
        """Of the dataset's own cases."""
        return self.main.folds()

    def report(self) -> list[str]:
        """Lines about both."""
        return [*self.main.report(), *(f"{self.name}: {line}" for line in self.other.report())]

    def read_image(self, row: Mapping[str, Any], *, salvage: bool = False) -> Image:
        """Read a case's image by the source that it is of."""
        source, own = self._of(row)
        return source.read_image(own, salvage=salvage)

    def read_mask(self, row: Mapping[str, Any]) -> np.ndarray:
        """Read a case's mask by the source that it is of."""
        source, own = self._of(row)
        return source.read_mask(own)

    def objects(self, row: Mapping[str, Any], mask: np.ndarray) -> np.ndarray:
        """As the dataset of the case says."""
        source, own = self._of(row)
        return source.objects(own, mask)

    def voxel_axes(self, row: Mapping[str, Any]) -> np.ndarray | None:
        """Steps between a case's voxels, by the source that it is of."""
        source, own = self._of(row)
        return source.voxel_axes(own)

    def loose(self, folder: Path) -> pd.DataFrame:
        """New files, as the dataset's own layout has them."""
        return self.main.loose(folder)

    def unread(self, folder: Path, rows: Iterable[Mapping[str, Any]]) -> dict[str, str]:
        """As the dataset's own layout says."""
        return self.main.unread(folder, rows)

    def paths(self, text: str) -> list[Path]:
        """Files of either."""
        return self.other.paths(text.removeprefix(_MARK)) if text.startswith(_MARK) else self.main.paths(text)

    def relative(self, path: Path) -> str:
        """A path relative to the dataset; of the other's files too, as both lie beside one another."""
        if path.is_relative_to(self.other.root) and not path.is_relative_to(self.root):
            return os.path.relpath(path, self.root)
        return self.main.relative(path)

    def _of(self, row: Mapping[str, Any]) -> tuple[Source, dict[str, Any]]:
        if not str(row["image"]).startswith(_MARK):
            return self.main, dict(row)
        prefix = len(self.name.strip("/")) + 1
        own = {key: text.removeprefix(_MARK) if key in ("image", "mask") else text for key, text in dict(row).items()}
        return self.other, {**own, "case_id": str(row["case_id"])[prefix:], "split": "train"}

    def _rows(self, found: list[str]) -> Iterable[dict[str, Any]]:
        raise NotImplementedError("the cases of both are listed by their own sources")


def with_extra(source: Source, config: BaseConfig) -> Source:
    """A source with the further cases that an experiment trains on, or as it is where there are none.

    Raises:
        UserError: the other dataset does not exist or does not fit.
    """
    if not config.extra:
        return source
    name = config.extra_source or config.source
    if config.extra == config.dataset and name == config.source and config.extra_options == config.source_options:
        raise UserError(f"extra = {config.extra!r} is the dataset itself: name another one")
    cls = source_class(name)
    other = cls(cls.locate(config.extra, config.extra_options), **config.extra_options)
    return WithExtra(source, other, config.extra)


def copied_extra(source: Source, cases: pd.DataFrame) -> list[CaseProblem]:
    """Further cases that are copies of a case of the dataset: of a fold, of the test part or of those to submit."""
    extra = cases["split"] == EXTRA
    group = cases["group_id"].map(cases[~extra].groupby("group_id")["case_id"].first())
    return [
        CaseProblem(
            row["case_id"],
            first_file(source, row),
            f"it shows the same as case {twin} of the dataset, which it gives away: leave it out of the extra data",
        )
        for row, twin in zip(cases[extra].to_dict("records"), group[extra], strict=True)
        if isinstance(twin, str)
    ]
