"""A checked dataset and the prepared arrays of experiments into one file."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heldout import files
from heldout.data.cases import open_dataset
from heldout.data.dataset import Dataset
from heldout.data.pack.codec import array_hash, encode
from heldout.data.pack.source import PackedSource
from heldout.data.parallel import map_cases
from heldout.data.prepare import Prepared, open_prepared
from heldout.data.recipe import Recipe
from heldout.data.records import PackedArray, PackedArrays, PackedCase, PackRecord, SourceRecord
from heldout.data.sources import Source
from heldout.errors import UserError

if TYPE_CHECKING:
    from heldout.config import BaseConfig

TABLES = ("index.json", "cases.parquet", "folds.csv", "sealed.parquet", "leaks.json", "skipped.csv")


@dataclass(frozen=True)
class Packed:
    """What :func:`pack` wrote.

    Attributes:
        path: The file.
        size: Its bytes.
        sha256: Its hash.
        cases: Training cases in it.
        recipes: Sets of prepared arrays in it.
    """

    path: Path
    size: int
    sha256: str
    cases: int
    recipes: int


def pack(configs: Sequence[BaseConfig], output: Path, *, progress: bool = True, workers: int | None = None) -> Packed:
    """Write the training part of a dataset, prepared for some experiments, into one file.

    Args:
        configs: Experiments on one dataset; those that prepare alike share their arrays.
        output: The file, replaced where it exists.
        progress: Show progress bars.
        workers: Processes; the file does not depend on it.

    Raises:
        UserError: the experiments use several datasets, or on one that was itself unpacked.
    """
    if output.exists() and not output.is_file():
        what = "a folder" if output.is_dir() else "not a regular file"
        raise UserError(f"--output {output} is {what}: name the file to write")
    datasets = [open_dataset(config) for config in configs]
    first = datasets[0]
    for config, dataset in zip(configs, datasets, strict=True):
        if dataset.folder != first.folder:
            raise UserError(
                f"{config.spec} and {configs[0].spec} have different cases or folds: pack the experiments of each "
                "dataset into a file of its own"
            )
    if staged := [config for config in configs if config.first_stage is not None]:
        raise UserError(
            f"{staged[0].spec} uses the maps of {staged[0].first_stage}, which a pack does not carry: pack "
            f"{staged[0].first_stage} instead, and train {staged[0].spec} where its raw data are"
        )
    if configs[0].extra:
        raise UserError(
            f"{configs[0].spec} trains on extra = {configs[0].extra!r}, which a pack does not carry: unset it"
        )
    if isinstance(first.source, PackedSource):
        raise UserError(f"{first.folder} was itself unpacked: copy the file that it came from instead")
    recipes = {Recipe.of(config).digest(): config for config in configs}
    with files.atomic(output) as handle, zipfile.ZipFile(handle, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in TABLES:
            _add(archive, f"tables/{name}", (first.folder / name).read_bytes(), zipfile.ZIP_DEFLATED)
        source = first.source
        record = PackRecord(
            folder=first.folder.name,
            data_hash=first.data_hash,
            fold_hash=first.fold_hash,
            tables={name: files.sha256_file(first.folder / name) for name in TABLES},
            source=SourceRecord(
                classes=tuple(source.classes),
                exclusive=source.exclusive,
                dimensions=source.dimensions,
                kind=source.kind,
                caveats=tuple(source.caveats),
                own_folds=source.own_folds,
            ),
            truth=_write_truths(archive, first, progress, workers),
            prepared={
                digest: _write_prepared(archive, first, config, progress, workers) for digest, config in recipes.items()
            },
        )
        text = json.dumps(record.to_json(), separators=(",", ":"), allow_nan=False)
        _add(archive, "pack.json", text.encode(), zipfile.ZIP_DEFLATED)
    cases = len(first.part("train"))
    return Packed(output, output.stat().st_size, files.sha256_file(output), cases, len(recipes))


def _write_truths(
    archive: zipfile.ZipFile, dataset: Dataset, progress: bool, workers: int | None
) -> dict[str, PackedArray]:
    rows = dataset.part("train").to_dict("records")
    rows = [row for row in rows if row["mask"] or dataset.source.kind == "segmentation"]
    encoded = map_cases(_truths, (dataset.source,), rows, "Packing masks", progress=progress, workers=workers)
    found = {}
    for row, (data, about) in zip(rows, encoded, strict=True):
        found[row["case_id"]] = about
        if data:
            _add(archive, f"truth/{row['case_id']}", data, zipfile.ZIP_STORED)
    return found


def _truths(source: Source, rows: list[dict[str, Any]]) -> list[tuple[bytes, PackedArray]]:
    found = []
    for row in rows:
        mask = source.read_mask(row)
        found.append(encode(mask) if mask.any() else (b"", PackedArray(codec="empty", shape=mask.shape)))
    return found


def _write_prepared(
    archive: zipfile.ZipFile, dataset: Dataset, config: BaseConfig, progress: bool, workers: int | None
) -> PackedArrays:
    prepared = open_prepared(dataset, config, progress=progress, workers=workers)
    cases = list(dataset.part("train")["case_id"])
    encoded = map_cases(_arrays, (prepared,), cases, "Packing images", progress=progress, workers=workers)
    found = {}
    for case_id, (data, about) in zip(cases, encoded, strict=True):
        found[case_id] = about
        _add(archive, f"prepared/{prepared.folder.name}/{case_id}", data, zipfile.ZIP_STORED)
    return PackedArrays(recipe=Recipe.of(config).to_dict(), cases=found)


def _arrays(prepared: Prepared, cases: list[str]) -> list[tuple[bytes, PackedCase]]:
    found = []
    for case_id in cases:
        image, entry = prepared.image(case_id), prepared.entries[case_id]
        masked = entry.mask is not None and entry.mask.stored
        data, about = encode(image)
        described = PackedCase(
            codec=about.codec,
            shape=about.shape,
            dtype=about.dtype,
            image=array_hash(image),
            mask=array_hash(prepared.mask(case_id)) if masked else None,
            foreground=array_hash(prepared.foreground(case_id)) if masked else None,
            entry=entry,
        )
        found.append((data, described))
    return found


def _add(archive: zipfile.ZipFile, name: str, data: bytes, method: int) -> None:
    archive.writestr(files.zip_entry(name), data, compress_type=method)
