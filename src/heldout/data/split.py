"""How a dataset's cases are split: which part each is in, and which fold of the training part."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from heldout.data.checks import CaseProblem, first_file
from heldout.data.columns import PREFIX, column_and_bins
from heldout.data.dataset import Dataset
from heldout.data.folds import choose_test, make_folds, unknown_labels
from heldout.data.given_folds import folds_by, folds_path, given_folds, leak_text, read_folds_file
from heldout.data.pack.source import PackedSource
from heldout.data.records import read_leaks
from heldout.data.sealed import read_sealed
from heldout.data.sources import Source
from heldout.errors import UserError

if TYPE_CHECKING:
    from heldout.config import BaseConfig


def choose_parts(cases: pd.DataFrame, config: BaseConfig) -> pd.Series:
    """Part of every case; a locked test part is split off where the dataset has none."""
    parts = cases["split"].replace("", "train")
    if (parts == "test").any():
        return parts
    labeled = cases[parts == "train"]
    fixed = frozenset(cases["group_id"][cases["split"] == "train"])
    locked = choose_test(
        labeled, config.test_fraction, config.fold_count, config.fold_seed, fixed, stratify=config.stratify
    )
    parts[(parts == "train") & cases["group_id"].isin(locked)] = "test"
    return parts


def deal_folds(config: BaseConfig, source: Source, train: pd.DataFrame) -> pd.Series:
    """Fold of every training case, as the dataset, a table or a column says, or as the fields make them."""
    count = config.fold_count
    if config.folds_file:
        packed = isinstance(source, PackedSource)
        path = Path(config.folds_file) if packed else folds_path(source, config.folds_file)
        given = source.folds() if packed else read_folds_file(path, train, source.own_ids())
        remedy = "fix the file, or accept it with accept_leaks = 'the reason', which is stated beside every score"
        return given_folds(
            train, given, count, where=f"the folds of {path}", remedy=remedy, accepted=config.accept_leaks
        )
    if config.fold_by:
        given = folds_by(train, config.fold_by)
        remedy = f"set group = ('{config.fold_by}',) in place of fold_by, which puts several of them into a fold"
        return given_folds(train, given, count, where=f"the folds by {config.fold_by}", remedy=remedy)
    if source.own_folds:
        return given_folds(train, source.folds(), count)
    one_class = source.kind == "classification" and len(source.classes) == 1
    return make_folds(train, count, config.fold_seed, needs_negatives=one_class, stratify=config.stratify)


def about_folds(config: BaseConfig, train: pd.DataFrame, folds: pd.Series) -> tuple[list[str], list[str]]:
    """What a reader of scores must know of the folds, and what else is on record about them, a sentence each."""
    fold = train["case_id"].map(folds)
    caveats, found = [], []
    for name, unknown in unknown_labels(train).items():
        by_fold = ", ".join(str(int(part.sum())) for _, part in unknown.groupby(fold))
        found.append(
            f"{name}: {int(unknown.sum())} of {len(train)} training cases have no label ({by_fold} by fold): neither "
            "learned nor scored"
        )
    if config.folds_file:
        leaks = leak_text(train, fold)
        count = f"{len(train)} cases in {config.fold_count} folds"
        if leaks:
            caveats.append(
                f"The folds of {config.folds_file} leak, which makes scores optimistic: {leaks}. "
                f"Accepted because: {config.accept_leaks}"
            )
        else:
            found.append(f"the folds of {config.folds_file} ({count}) hold no patient and no copy in two folds")
    names = [column_and_bins(name)[0] for name in config.stratify]
    for name in dict.fromkeys([*names, *config.group, config.fold_by or ""]):
        if PREFIX + name in train:
            values = train[PREFIX + name]
            empty = int((values == "").sum())
            found.append(
                f"{name}: {values[values != ''].nunique()} values in {len(train)} training cases"
                + (f", {empty} without a value" if empty else "")
            )
    return caveats, found


def crossing_cases(source: Source, cases: pd.DataFrame) -> list[CaseProblem]:
    """Training cases whose patient, or a copy of whose image, is in the test part that the dataset came with."""
    tested = set(cases["group_id"][cases["split"] == "test"])
    rows = cases[cases["group_id"].isin(tested) & ~cases["split"].isin(["test", "submit", "extra"])]
    return [
        CaseProblem(
            row["case_id"],
            first_file(source, row),
            f"patient {row['patient_id']} (group {row['group_id']}), or a copy of the image, is in the dataset's own "
            f"test part: leave one of the two out",
        )
        for row in rows.to_dict("records")
    ]


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
        cases["split"] = choose_parts(cases, config)
    train = cases[cases["split"] == "train"]
    folds = deal_folds(config, dataset.source, train)
    moved = cases["case_id"][(cases["split"] != was).to_numpy()].tolist()
    moved += [name for name in folds.index if name not in dataset.folds.index or dataset.folds[name] != folds[name]]
    if moved:
        raise UserError(
            f"{folder} does not hold the parts and folds that its cases are dealt by fold_seed = {config.fold_seed}: "
            f"case {moved[0]} was moved ({len(moved)} in all): {again}"
        )
