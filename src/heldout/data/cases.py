"""From a raw dataset to a checked one: index, check, find duplicates, split, fold; and the way back from the disk."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from heldout import files
from heldout.data.checks import CaseProblem, Checked, check_cases, refuse
from heldout.data.columns import PREFIX, further_columns, wanted_columns
from heldout.data.dataset import Dataset
from heldout.data.extra import EXTRA, copied_extra, with_extra
from heldout.data.folds import class_table
from heldout.data.given_folds import folds_path
from heldout.data.leaks import RULE, Duplicates, find_duplicates, group_ids
from heldout.data.pack.source import RECORD, packed_source
from heldout.data.prepare import ArrayStore, prepared_folder
from heldout.data.recipe import Recipe
from heldout.data.records import IndexRecord, LeaksRecord, PreparedCase, read_index
from heldout.data.report import leak_report
from heldout.data.sealed import open_sealed
from heldout.data.sources import Source, source_class
from heldout.data.split import about_folds, choose_parts, crossing_cases, deal_folds
from heldout.data.verify import data_hash, index_hash, load, raw_files
from heldout.errors import UserError
from heldout.escape import spreadsheet

if TYPE_CHECKING:
    from heldout.config import BaseConfig

__all__ = ["Dataset", "dataset_folder", "index_dataset", "leak_report", "open_dataset", "open_sealed", "open_source"]


def dataset_folder(config: BaseConfig, skip_bad: bool) -> Path:
    """Folder of the checked dataset: its name tells apart everything that decides about cases and folds."""
    names = ("dataset", "source", "source_options", "test_fraction", "fold_count", "fold_seed", "near_duplicates")
    key = {**{name: getattr(config, name) for name in names}, "skip_bad": skip_bad}
    later = ("stratify", "group", "fold_by", "folds_file", "accept_leaks", "extra", "extra_source", "extra_options")
    # what is not set is left out, so that folders keep the names that they had before there were such fields
    key |= {name: getattr(config, name) for name in later if getattr(config, name)}
    name = config.dataset.strip("/").replace("/", "_") or config.source
    return files.home() / "working" / "data" / f"{name}-{files.sha256_json(key)[:8]}"


def open_dataset(config: BaseConfig, *, skip_bad: bool | None = None) -> Dataset:
    """Load the checked dataset of an experiment, and check it if that was not done before.

    Args:
        config: The experiment.
        skip_bad: Set bad cases aside; None does as the experiment says.

    Raises:
        UserError: the tables or the raw files were changed, or a patient is in two folds or parts; or whatever
            :func:`index_dataset` finds.
    """
    skip = config.skip_bad if skip_bad is None else skip_bad
    folder = dataset_folder(config, skip)
    source = packed_source(folder) or with_extra(_source(config), config)
    if not (folder / "index.json").exists():
        with files.lock(folder, "checking the dataset", wait=True):
            if not (folder / "index.json").exists():  # another process may have done it while this one waited
                _build(config, source, folder, skip, progress=True)
    return load(folder, source)


def open_source(config: BaseConfig, *, skip_bad: bool | None = None) -> Source:
    """The source of an experiment's dataset, of which nothing but its tables was read; see :func:`open_dataset`."""
    skip = config.skip_bad if skip_bad is None else skip_bad
    return packed_source(dataset_folder(config, skip)) or _source(config)


def index_dataset(config: BaseConfig, *, skip_bad: bool = False, progress: bool = True) -> Dataset:
    """Read and check every case, find duplicates, lock a test part away and make folds; then write it all down.

    Args:
        config: The experiment.
        skip_bad: Set bad cases aside, as the experiment may also ask.
        progress: Show a progress bar.

    Raises:
        UserError: cases that cannot be used, classes too rare for the folds, or groups that cross given parts.
    """
    skip = config.skip_bad or skip_bad
    folder, source = dataset_folder(config, skip), with_extra(_source(config), config)
    with files.lock(folder, "checking the dataset", wait=True):
        _build(config, source, folder, skip, progress)
    return load(folder, source)


def _source(config: BaseConfig) -> Source:
    if not config.source:
        raise UserError("the experiment names no source: set source to the layout of its dataset, such as 'msd'")
    cls = source_class(config.source)
    source = cls(cls.locate(config.dataset, config.source_options), **config.source_options)
    source.other_files = frozenset(filter(None, [config.sample_submission, config.folds_file]))
    if source.own_folds and (config.folds_file or config.fold_by):
        raise UserError("source_options take the dataset's own folds, folds_file or fold_by give others: keep one")
    return source


def _build(config: BaseConfig, source: Source, folder: Path, skip_bad: bool, progress: bool) -> None:
    """Check the dataset, and prepare its training cases with the experiment's settings while they are in memory."""
    recipe = Recipe.of(config)
    store = ArrayStore(prepared_folder(folder, recipe), recipe)
    if config.first_stage is not None:  # its arrays hold maps that only training can make
        _check_and_split(config, source, folder, skip_bad, progress, None)
        return
    with store.made_anew() as entries:
        entries.update(_check_and_split(config, source, folder, skip_bad, progress, store))


def _check_and_split(
    config: BaseConfig, source: Source, folder: Path, skip_bad: bool, progress: bool, store: ArrayStore | None
) -> dict[str, PreparedCase]:
    """Write the tables of the checked dataset; manifest entries of the training cases that were prepared."""
    rule = read_index(folder).near_rule if (folder / "index.json").exists() else RULE
    index = source.index()
    results, problems = check_cases(source, index, store=store, progress=progress)
    if problems and not skip_bad:
        refuse(problems, str(source.root))
    sound = [position for position, result in enumerate(results) if result is not None]
    if not sound:
        refuse(problems, str(source.root))
    checked = [result for result in results if result is not None]
    cases = _with_results(index.iloc[sound].reset_index(drop=True), checked)
    duplicates = find_duplicates(
        cases, [result.signature for result in checked], source.dimensions, near=config.near_duplicates, rule=rule
    )
    columns = further_columns(source, cases, wanted_columns(config))
    cases = pd.concat([cases, columns.add_prefix(PREFIX)], axis=1)
    cases["group_id"] = group_ids(cases, duplicates, [name for name in config.group if name in columns])
    crossing = copied_extra(source, cases) + crossing_cases(source, cases)
    if crossing and not skip_bad:
        refuse(crossing, str(source.root))
    cases = cases[~cases["case_id"].isin([problem.case_id for problem in crossing])].reset_index(drop=True)
    cases["split"] = choose_parts(cases, config)
    train = cases[cases["split"] == "train"]
    if train.empty:
        raise UserError(f"{source.root} holds no labeled case to train on: check the split column of its index")
    _write(
        config,
        source,
        folder,
        index,
        cases,
        deal_folds(config, source, train),
        problems + crossing,
        duplicates,
        _notes(index, results),
        rule,
    )
    entries = {case_id: result.prepared for case_id, result in zip(index["case_id"], results, strict=True) if result}
    trained_on = cases["case_id"][cases["split"].isin(["train", EXTRA])]
    return {case_id: entry for case_id in trained_on if (entry := entries[case_id]) is not None}


def _notes(index: pd.DataFrame, results: list[Checked | None]) -> list[str]:
    """What had to be assumed to read the cases, a line for each assumption."""
    noted = pd.Series([result.note if result else "" for result in results], index=index["case_id"])
    return [
        f"{len(same)} of {len(noted)} cases, such as {same.index[0]}: {note}"
        for note, same in noted[noted != ""].groupby(noted)
    ]


def _with_results(index: pd.DataFrame, checked: list[Checked]) -> pd.DataFrame:
    labels = pd.DataFrame([result.labels for result in checked]).add_prefix("y_").astype("float64")
    kept = index[["case_id", "patient_id", "split", "image", "mask"]]
    hashes = {name: [getattr(result, name) for result in checked] for name in ("content_hash", "mask_hash")}
    return pd.concat([kept, labels], axis=1).assign(**hashes)


def _write(
    config: BaseConfig,
    source: Source,
    folder: Path,
    index: pd.DataFrame,
    cases: pd.DataFrame,
    folds: pd.Series,
    problems: list[CaseProblem],
    duplicates: Duplicates,
    notes: list[str],
    rule: int,
) -> None:
    """Write the tables; ``index.json`` comes last and confirms the others."""
    for name in ("index.json", RECORD):
        (folder / name).unlink(missing_ok=True)
    labels = [f"y_{name}" for name in source.classes]
    cases = cases.sort_values("case_id", ignore_index=True)
    cases["fold"] = cases["case_id"].map(folds).fillna(-1).astype(int)
    test = cases["split"] == "test"
    counts = {part: class_table(rows).sum().to_dict() for part, rows in cases.groupby("split") if part != "submit"}
    hashed = data_hash(cases, source.classes)
    raw = raw_files(source, cases)
    _write_parquet(
        folder / "sealed.parquet", cases.loc[test, ["case_id", "split", "image", "mask", "mask_hash", *labels]]
    )
    unseen = ~cases["split"].isin(["train", EXTRA])
    cases.loc[unseen, labels] = np.nan
    cases.loc[unseen, ["mask", "mask_hash"]] = ""
    _write_parquet(folder / "cases.parquet", cases)
    table = cases.loc[cases["fold"] >= 0, ["case_id", "patient_id", "fold"]]
    files.write_text(folder / "folds.csv", table.to_csv(index=False))
    skipped = pd.DataFrame([vars(problem) for problem in problems], columns=["case_id", "file", "reason"])
    shown = skipped.map(lambda value: spreadsheet(value) if isinstance(value, str) else value)
    files.write_text(folder / "skipped.csv", shown.to_csv(index=False))
    files.write_text(folder / "raw_files.csv", raw.to_csv(index=False))
    caveats, found = about_folds(config, cases[cases["split"] == "train"], folds)
    if config.extra:
        count = int((cases["split"] == EXTRA).sum())
        caveats.append(f"{count} further cases of {config.extra} train in every fold; they are never scored.")
    leaks = LeaksRecord(
        **vars(duplicates),
        class_counts=counts,
        caveats=[*source.caveats, *caveats],
        found=source.report() + notes + found,
    )
    files.write_json(folder / "leaks.json", leaks.to_json())
    hashes = {name: files.sha256_file(folder / name) for name in ("cases.parquet", "folds.csv", "sealed.parquet")}
    index_record = IndexRecord(
        dataset=config.dataset,
        source=config.source,
        source_options=config.source_options,
        classes=source.classes,
        exclusive=source.exclusive,
        fold_hash=files.sha256_file(folder / "folds.csv"),
        data_hash=hashed,
        index_hash=index_hash(index),
        files=hashes,
        given_folds={name: files.sha256_file(folds_path(source, name)) for name in filter(None, [config.folds_file])},
        accept_leaks=config.accept_leaks,
        near_rule=rule,
    )
    files.write_json(folder / "index.json", index_record.to_json())


def _write_parquet(path: Path, frame: pd.DataFrame) -> None:
    buffer = io.BytesIO()
    frame.reset_index(drop=True).to_parquet(buffer, index=False)
    files.write_bytes(path, buffer.getvalue())
