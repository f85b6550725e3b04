"""From a raw dataset to a checked one: index, check, find duplicates, split, fold; and the way back from the disk."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from heldout import files
from heldout.data.checks import Checked, Problem, check_cases, first_file, refuse
from heldout.data.dataset import Dataset
from heldout.data.folds import choose_test, class_table, given_folds, make_folds
from heldout.data.leaks import Duplicates, find_duplicates, group_ids
from heldout.data.pack.source import RECORD, PackedSource, packed_source
from heldout.data.prepare import ArrayStore, prepared_folder
from heldout.data.recipe import Recipe
from heldout.data.records import IndexRecord, LeaksRecord, PreparedCase, read_leaks
from heldout.data.report import leak_report
from heldout.data.sealed import open_sealed, read_sealed
from heldout.data.sources import Source, source_class
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
    folder, source = dataset_folder(config, skip), open_source(config, skip_bad=skip)
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
    folder, source = dataset_folder(config, skip), _source(config)
    with files.lock(folder, "checking the dataset", wait=True):
        _build(config, source, folder, skip, progress)
    return load(folder, source)


def _source(config: BaseConfig) -> Source:
    if not config.source:
        raise UserError("the experiment names no source: set source to the layout of its dataset, such as 'msd'")
    cls = source_class(config.source)
    source = cls(cls.locate(config.dataset, config.source_options), **config.source_options)
    source.other_files = frozenset(filter(None, [config.sample_submission]))
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
        cases, [result.fingerprint for result in checked], source.dimensions, near=config.near_duplicates
    )
    cases["group_id"] = group_ids(cases, duplicates)
    crossing = _crossing(source, cases)
    if crossing and not skip_bad:
        refuse(crossing, str(source.root))
    cases = cases[~cases["case_id"].isin([problem.case_id for problem in crossing])].reset_index(drop=True)
    cases["split"] = _parts(cases, config)
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
    )
    entries = {case_id: result.prepared for case_id, result in zip(index["case_id"], results, strict=True) if result}
    return {case_id: entry for case_id in train["case_id"] if (entry := entries[case_id]) is not None}


def deal_folds(config: BaseConfig, source: Source, train: pd.DataFrame) -> pd.Series:
    """Fold of every training case, as the dataset says or as the experiment's fields make them."""
    if source.own_folds:
        return given_folds(train, source.folds(), config.fold_count)
    one_class = source.kind == "classification" and len(source.classes) == 1
    return make_folds(train, config.fold_count, config.fold_seed, needs_negatives=one_class)


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


def _crossing(source: Source, cases: pd.DataFrame) -> list[Problem]:
    """Training cases whose patient, or a copy of whose image, is in the test part that the dataset came with."""
    tested = set(cases["group_id"][cases["split"] == "test"])
    rows = cases[cases["group_id"].isin(tested) & ~cases["split"].isin(["test", "submit"])]
    return [
        Problem(
            row["case_id"],
            first_file(source, row),
            f"patient {row['patient_id']} (group {row['group_id']}), or a copy of the image, is in the dataset's own "
            f"test part: leave one of the two out",
        )
        for row in rows.to_dict("records")
    ]


def _parts(cases: pd.DataFrame, config: BaseConfig) -> pd.Series:
    """Part of every case; a locked test part is split off where the dataset has none."""
    parts = cases["split"].replace("", "train")
    if (parts == "test").any():
        return parts
    labeled = cases[parts == "train"]
    fixed = frozenset(cases["group_id"][cases["split"] == "train"])
    locked = choose_test(labeled, config.test_fraction, config.fold_count, config.fold_seed, fixed)
    parts[(parts == "train") & cases["group_id"].isin(locked)] = "test"
    return parts


def check_split(dataset: Dataset, config: BaseConfig) -> None:
    """Derive the parts and folds again from the cases, the seed and the rule: hashes alone can be made anew.

    Raises:
        UserError: copies or a patient's cases are in two groups, or a case is in another part or fold than it is dealt.
    """
    cases, folder = dataset.cases.copy(), dataset.folder
    again = f"run `folds --rebuild` to make {folder} again, and train again"
    leaks = read_leaks(folder)
    group = cases.set_index("case_id")["group_id"]
    copies = cases.groupby("content_hash")["case_id"].agg(list).tolist()
    together = [*copies, *leaks.exact, *leaks.near, *cases.groupby("patient_id")["case_id"].agg(list)]
    for names in together:
        known = [name for name in names if name in group.index]
        if group[known].nunique() > 1:
            raise UserError(
                f"{folder / 'cases.parquet'} puts {known[0]} and {known[-1]} into two groups, which are of one patient "
                f"or show the same: {again}"
            )
    was = cases["split"].copy()
    if not isinstance(dataset.source, PackedSource):  # what was unpacked lacks the raw list of cases
        listed = dataset.source.index().set_index("case_id")
        cases["split"] = listed["split"].reindex(cases["case_id"]).to_numpy()
        labels = [f"y_{name}" for name in dataset.classes]
        truth = read_sealed(folder).set_index("case_id")[labels]
        tested = (was == "test").to_numpy()
        cases.loc[tested, labels] = truth.loc[cases.loc[tested, "case_id"]].to_numpy()
        cases["split"] = _parts(cases, config)
    train = cases[cases["split"] == "train"]
    folds = deal_folds(config, dataset.source, train)
    moved = cases["case_id"][(cases["split"] != was).to_numpy()].tolist()
    moved += [name for name in folds.index if name not in dataset.folds.index or dataset.folds[name] != folds[name]]
    if moved:
        raise UserError(
            f"{folder} does not hold the parts and folds that its cases are dealt by fold_seed = {config.fold_seed}: "
            f"case {moved[0]} was moved ({len(moved)} in all): {again}"
        )


def _write(
    config: BaseConfig,
    source: Source,
    folder: Path,
    index: pd.DataFrame,
    cases: pd.DataFrame,
    folds: pd.Series,
    problems: list[Problem],
    duplicates: Duplicates,
    notes: list[str],
) -> None:
    """Write the tables; ``index.json`` comes last and vouches for the others."""
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
    cases.loc[cases["split"] != "train", labels] = np.nan
    cases.loc[cases["split"] != "train", ["mask", "mask_hash"]] = ""
    _write_parquet(folder / "cases.parquet", cases)
    table = cases.loc[cases["fold"] >= 0, ["case_id", "patient_id", "fold"]]
    files.write_text(folder / "folds.csv", table.to_csv(index=False))
    skipped = pd.DataFrame([vars(problem) for problem in problems], columns=["case_id", "file", "reason"])
    shown = skipped.map(lambda value: spreadsheet(value) if isinstance(value, str) else value)
    files.write_text(folder / "skipped.csv", shown.to_csv(index=False))
    files.write_text(folder / "raw_files.csv", raw.to_csv(index=False))
    leaks = LeaksRecord(
        **vars(duplicates), class_counts=counts, caveats=list(source.caveats), found=source.report() + notes
    )
    files.write_json(folder / "leaks.json", leaks.to_json())
    hashes = {name: files.sha256_file(folder / name) for name in ("cases.parquet", "folds.csv", "sealed.parquet")}
    index_record = IndexRecord(
        dataset=config.dataset,
        source=config.source,
        source_options=config.source_options,
        classes=source.classes,
        exclusive=source.exclusive,
        fold_hash=hashes["folds.csv"],
        data_hash=hashed,
        index_hash=index_hash(index),
        files=hashes,
    )
    files.write_json(folder / "index.json", index_record.to_json())


def _write_parquet(path: Path, frame: pd.DataFrame) -> None:
    buffer = io.BytesIO()
    frame.reset_index(drop=True).to_parquet(buffer, index=False)
    files.write_bytes(path, buffer.getvalue())
