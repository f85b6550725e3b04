"""Prepared arrays: made once per case, in parallel, kept on the disk and memory-mapped."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from heldout import files
from heldout.data.first_stage import FirstStageMap, FirstStageMaps, first_stage_map
from heldout.data.foreground import sample_foreground
from heldout.data.geometry import Geometry, prepare_mask, restore
from heldout.data.image import BadFile, Image
from heldout.data.normalize import to_float
from heldout.data.parallel import end_processes, map_cases
from heldout.data.recipe import Recipe
from heldout.data.records import Manifest, PreparedCase, StoredMask, read_manifest
from heldout.data.sources import Source
from heldout.data.transform import prepare_image
from heldout.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    from heldout.config import BaseConfig
    from heldout.data.dataset import Dataset

__all__ = [
    "ArrayStore",
    "Geometry",
    "Prepared",
    "open_prepared",
    "prepare_image",
    "prepare_mask",
    "prepared_folder",
    "restore",
    "to_float",
]

ENDINGS = ("image", "mask", "foreground")  # of a case's files
SECONDS_BETWEEN_SAVES = 5.0  # of the manifest: what a killed run prepares again at most


@dataclass(frozen=True, eq=False)
class Prepared:
    """Prepared arrays of a dataset, memory-mapped one case at a time.

    Attributes:
        folder: Where they lie.
        entries: For every case its content hash, geometry and whether its mask is stored, empty or absent.
    """

    folder: Path
    entries: dict[str, PreparedCase]

    def image(self, case_id: str) -> np.ndarray:
        """Prepared image (C, *S), uint8 or float16; see :func:`to_float`.

        Raises:
            UserError: the case was not prepared.
        """
        self._entry(case_id)
        return np.load(self.folder / f"{case_id}.image.npy", mmap_mode="r")

    def mask(self, case_id: str) -> np.ndarray:
        """Prepared mask (M, *S), uint8; empty masks take no space on the disk.

        Raises:
            UserError: the case was not prepared, or its mask is not to be seen.
        """
        entry = self._entry(case_id)
        if entry.mask is None:
            raise UserError(f"case {case_id} has no prepared mask: only training cases with masks have one")
        if entry.mask.stored:
            return np.load(self.folder / f"{case_id}.mask.npy", mmap_mode="r")
        return np.broadcast_to(np.uint8(0), (entry.mask.channels, *entry.geometry.prepared))

    def foreground(self, case_id: str) -> np.ndarray:
        """Sampled foreground voxels, int32 (N, 1 + dimensions): class index, then position; N <= 1000.

        Raises:
            UserError: as for :meth:`mask`.
        """
        entry = self._entry(case_id)
        if entry.mask is None or entry.mask.stored:
            self.mask(case_id)
            return np.load(self.folder / f"{case_id}.foreground.npy", mmap_mode="r")
        return np.empty((0, 1 + len(entry.geometry.prepared)), np.int32)

    def geometry(self, case_id: str) -> Geometry:
        """The way back to the case's own grid.

        Raises:
            UserError: the case was not prepared.
        """
        return self._entry(case_id).geometry

    def _entry(self, case_id: str) -> PreparedCase:
        if case_id not in self.entries:
            raise UserError(f"case {case_id} was not prepared: open it with the part that it is in")
        return self.entries[case_id]


def open_prepared(
    dataset: Dataset,
    config: BaseConfig,
    splits: Sequence[str] = ("train",),
    *,
    progress: bool = True,
    workers: int | None = None,
    first_stage: FirstStageMaps | None = None,
) -> Prepared:
    """Prepare what is not prepared yet, and open it.

    Images of every part can be prepared, masks only of training cases.

    Args:
        dataset: The checked dataset.
        config: Preparation settings.
        splits: Parts to prepare.
        progress: Show a progress bar where there is something to do.
        workers: Processes; results do not depend on it.
        first_stage: What a first stage found in the training cases; only these can be prepared then.

    Raises:
        UserError: a case does not fit the settings; the message names it.
    """
    recipe = Recipe.of(config)
    folder = prepared_folder(dataset.folder, recipe, first_stage)
    wanted = [*splits, "extra"] if "train" in splits else list(splits)  # such cases are trained on as well
    cases = dataset.cases[dataset.cases["split"].isin(wanted)]
    entries = finished_entries(folder, cases)
    if len(entries) < len(cases):
        with files.lock(folder, "preparing arrays", wait=True), files.no_parts_left(folder):
            entries = finished_entries(folder, cases)
            todo = cases[~cases["case_id"].isin(list(entries))].to_dict("records")
            manifest, saved = {**read_manifest(folder), **entries}, time.monotonic()
            shared = (dataset.source, ArrayStore(folder, recipe), first_stage)
            for row, entry in zip(
                todo,
                map_cases(
                    _prepare_chunk,
                    shared,
                    todo,
                    "Preparing cases",
                    progress=progress,
                    workers=workers,
                    memory=dataset.source.memory,
                ),
                strict=True,
            ):
                manifest[row["case_id"]] = entries[row["case_id"]] = entry
                if time.monotonic() - saved > SECONDS_BETWEEN_SAVES:
                    write_manifest(folder, recipe, manifest)
                    saved = time.monotonic()
            write_manifest(folder, recipe, manifest)
    return Prepared(folder, entries)


def prepared_folder(dataset: Path, recipe: Recipe, first_stage: FirstStageMaps | None = None) -> Path:
    """Where a recipe's arrays lie below the folder of a dataset."""
    return dataset / "prepared" / (recipe.digest() + ("" if first_stage is None else f"-{first_stage.key[:16]}"))


def finished_entries(folder: Path, cases: pd.DataFrame) -> dict[str, PreparedCase]:
    """Entries of the cases whose arrays are on the disk and were made of today's pixels."""
    entries = read_manifest(folder)
    if not entries:
        return {}
    present = {path.name for path in folder.iterdir()}
    done = {}
    for case_id, content, split in zip(cases["case_id"], cases["content_hash"], cases["split"], strict=True):
        entry = entries.get(case_id)
        if entry is None or (entry.content_hash, entry.split) != (content, split):
            continue
        endings = ENDINGS if entry.mask and entry.mask.stored else ENDINGS[:1]
        if all(f"{case_id}.{ending}.npy" in present for ending in endings):
            done[case_id] = entry
    return done


def write_manifest(folder: Path, recipe: Recipe, entries: dict[str, PreparedCase]) -> None:
    """Write the list of what is prepared; arrays that it does not name are made again."""
    files.write_json(folder / "manifest.json", Manifest(recipe=recipe.to_dict(), cases=entries).to_json())


@dataclass(frozen=True)
class ArrayStore:
    """Writes the prepared arrays of one recipe to a folder, case by case; can be sent to another process."""

    folder: Path
    recipe: Recipe

    def write(
        self,
        row: Mapping[str, Any],
        split: str,
        image: Image,
        mask: np.ndarray | None,
        found: FirstStageMap | None = None,
    ) -> PreparedCase:
        """Prepare a case that was just read, and write its arrays.

        Args:
            row: The case, with its ``case_id`` and ``content_hash``.
            split: The part it is in.
            image: Its image.
            mask: Its mask (M, *original), where one is to be prepared.
            found: A first stage's map of the case.

        Returns:
            The case's entry in the manifest.

        Raises:
            BadFile: the image does not fit the recipe.
        """
        case_id = row["case_id"]
        try:
            array, geometry = prepare_image(image, self.recipe, found)
        except BadFile as error:
            raise BadFile(f"case {case_id}: {error}") from None
        write_array(self.folder / f"{case_id}.image.npy", array)
        about = None
        if mask is not None:
            prepared = prepare_mask(mask, geometry)
            about = StoredMask(stored=bool(prepared.any()), channels=len(prepared))
            if about.stored:
                write_array(self.folder / f"{case_id}.mask.npy", prepared)
                write_array(self.folder / f"{case_id}.foreground.npy", sample_foreground(prepared, case_id))
        return PreparedCase(content_hash=row["content_hash"], split=split, geometry=geometry, mask=about)

    @contextlib.contextmanager
    def made_anew(self) -> Iterator[dict[str, PreparedCase]]:
        """Hold the folder while all its arrays are made anew.

        Yields:
            Manifest entries, to be filled with those of the cases to keep; arrays of other cases are removed in the
            end, and all of them where the block fails.
        """
        with files.lock(self.folder, "preparing arrays", wait=True), files.no_parts_left(self.folder):
            (self.folder / "manifest.json").unlink(missing_ok=True)
            entries: dict[str, PreparedCase] = {}
            try:
                yield entries
                write_manifest(self.folder, self.recipe, entries)
            except BaseException:
                end_processes()  # which may be writing an array
                raise
            finally:
                for path in self.folder.glob("*.npy"):
                    if path.name.rsplit(".", 2)[0] not in entries:
                        path.unlink()


def _prepare_chunk(
    source: Source, store: ArrayStore, maps: FirstStageMaps | None, rows: list[dict[str, Any]]
) -> list[PreparedCase]:
    def prepare(row: dict[str, Any]) -> PreparedCase:
        image = source.read_image(row, salvage=row["split"] == "submit")
        masked = row["split"] in ("train", "extra") and (row["mask"] or source.kind == "segmentation")
        mask = source.read_mask(row) if masked else None
        return store.write(row, row["split"], image, mask, first_stage_map(maps, row["case_id"]))

    return [prepare(row) for row in rows]


def write_array(path: Path, array: np.ndarray) -> None:
    """Write one prepared array atomically."""
    with files.atomic(path) as handle:
        np.save(handle, array)
