"""Stratified parts that never divide a group: cross-validation folds and the locked test part.

The groups are dealt out one by one, those with the rarest class first, each to the part whose counts then come
closest to its share; moves of single groups then improve the result. The idea is that of iterative stratification
for multi-label data (Sechidis, Tsoumakas and Vlahavas, 2011), on groups and with several counts at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import pandas as pd

from heldout.data.columns import LABEL, PREFIX, bins_of, column_and_bins
from heldout.errors import UserError

NO_CLASS = "none"
RESERVED = ("part", "cases", "patients", "groups", NO_CLASS)  # columns of the tables that counts of classes join
FIFTHS = 5
ATTEMPTS = 20
MOVES = 500
MISSING = 1e6  # cost of a class that a part lacks: outweighs any imbalance


def class_table(cases: pd.DataFrame) -> pd.DataFrame:
    """One column per class and ``none`` for cases without any class; one row of 0 and 1 per case.

    Numbers of a regression are classes by their fifths, so that folds and parts are balanced in them.
    A class that is called like another column of such tables gets a name with a blank, which no class has.
    """
    table = (
        pd.concat([_binned(values) for _, values in cases.filter(regex="^y_").items()], axis=1).fillna(0).astype(int)
    )
    names = [name.removeprefix("y_") for name in table.columns]
    table.columns = [f"class {name}" if name in RESERVED else name for name in names]
    return table.assign(**{NO_CLASS: (table.sum(axis=1) == 0).astype(int)})


def unknown_labels(cases: pd.DataFrame) -> dict[str, pd.Series]:
    """For each class of which some cases say nothing: 1 of those that do not, 0 of the others."""
    missing = cases.filter(regex="^y_").isna()
    return {name.removeprefix("y_"): missing[name].astype(int) for name in missing if missing[name].any()}


def _binned(values: pd.Series) -> pd.Series | pd.DataFrame:
    """0 and 1 of a class as they are; a column per fifth of numbers."""
    if values.dropna().isin((0, 1)).all():
        return values
    fifths = pd.qcut(values, FIFTHS, duplicates="drop")
    names = [f"{values.name} {fifth.left:g} to {fifth.right:g}" for fifth in fifths.cat.categories]
    return pd.DataFrame({name: fifths.cat.codes == code for code, name in enumerate(names)}, index=values.index)


def strata(cases: pd.DataFrame, stratify: Sequence[str], fold_count: int) -> pd.DataFrame:
    """One column of 0 and 1 per value, or bin of numbers, of the columns to stratify by besides the classes.

    Unknown labels of a class are such a value too, so that every fold has its share of those that are known.

    Args:
        cases: Columns ``c_<name>`` as :func:`heldout.data.columns.further_columns` found them.
        stratify: ``site`` or, with a number of bins, ``age:5``; ``label`` stands for the classes and adds nothing.
        fold_count: Into how many folds the cases go.

    Raises:
        UserError: a column has more values than can be spread over the folds.
    """
    found = {f"{name} unknown": unknown for name, unknown in unknown_labels(cases).items()}
    for name in stratify:
        if name == LABEL:
            continue
        column = column_and_bins(name)[0]
        of_case = bins_of(cases[PREFIX + column], name)
        values = sorted(set(of_case))
        if len(values) * fold_count > len(cases):
            raise UserError(
                f"{column} has {len(values)} values in {len(cases)} cases, too many to spread over {fold_count} folds: "
                f"stratify by bins of it, such as {column}:5, if it holds numbers, or leave it out"
            )
        found.update({f"{name} {value}": (of_case == value).astype(int) for value in values})
    return pd.DataFrame(found, index=cases.index)


def make_folds(
    cases: pd.DataFrame,
    fold_count: int,
    seed: int,
    *,
    needs_negatives: bool = False,
    stratify: Sequence[str] = (),
) -> pd.Series:
    """Deal groups into folds with like class counts and sizes; the order of the rows plays no part.

    Args:
        cases: Columns case_id, group_id and labels ``y_*``.
        fold_count: Number of folds.
        seed: Decides between equal choices.
        needs_negatives: Every fold must also hold a case without any class.
        stratify: Columns that are balanced besides the classes; see :func:`strata`.

    Returns:
        Fold of every case, 0 ... fold_count - 1, indexed by case_id.

    Raises:
        UserError: a class occurs in fewer groups than there are folds.
    """
    groups, classes, counts = _group_counts(cases, strata(cases, stratify, fold_count))
    required = [name for name in classes if name != NO_CLASS or needs_negatives]
    have = (counts[:, : len(classes)] > 0).sum(0)
    for name, number in zip(classes, have, strict=True):
        if name in required and 0 < number < fold_count:
            what = (
                "Cases without any class occur" if name == NO_CLASS else f"Class {name.removeprefix('class ')} occurs"
            )
            remedy = f"set fold_count = {number}" if number > 1 else "add patients that have it"
            raise UserError(
                f"{what} in only {number} patient group{'' if number == 1 else 's'}, so {fold_count - number} of "
                f"{fold_count} folds would lack it: {remedy}, or leave the class out"
            )
    if len(groups) < fold_count:
        raise UserError(f"{len(groups)} patient groups cannot fill {fold_count} folds: set fold_count lower")
    min_counts = np.array([[name in required and number > 0 for name, number in zip(classes, have, strict=True)]])
    part, lacking = _best_deal(
        groups, counts, np.full(fold_count, 1 / fold_count), min_counts.repeat(fold_count, 0), seed
    )
    if lacking:
        raise UserError(
            f"no split was found that puts every class into each of {fold_count} folds: set fold_count lower"
        )
    fold = cases["group_id"].map(dict(zip(groups, part.tolist(), strict=True)))
    return pd.Series(fold.to_numpy(), index=pd.Index(cases["case_id"], name="case_id"), name="fold").sort_index()


def choose_test(
    cases: pd.DataFrame,
    fraction: float,
    fold_count: int,
    seed: int,
    fixed: frozenset[str] = frozenset(),
    stratify: Sequence[str] = (),
) -> set[str]:
    """Choose groups for a locked test part that holds about ``fraction`` of every class and of all cases.

    Classes are left with at least ``fold_count`` groups outside, where they have as many.

    Args:
        cases: Columns case_id, group_id and labels ``y_*``.
        fraction: Share of the test part.
        fold_count: Folds to be made of the rest.
        seed: Decides between equal choices.
        fixed: Groups that must stay outside; the fraction is one of the others.
        stratify: Columns that are balanced besides the classes; see :func:`strata`.
    """
    names, classes, every = _group_counts(cases, strata(cases, stratify, fold_count))
    free = np.array([group not in fixed for group in names], bool)
    groups, counts = [group for group in names if group not in fixed], every[free]
    if fraction == 0 or len(names) < 2 or not groups:
        return set()
    present = every[:, : len(classes)] > 0
    have, kept = present.sum(0), present[~free].sum(0)
    movable = (have > fold_count) & (have > kept)
    min_counts = np.stack([np.clip(np.minimum(have, fold_count) - kept, 0, None), movable.astype(int)])
    part, _ = _best_deal(groups, counts, np.array([1 - fraction, fraction]), min_counts, seed)
    return {group for group, number in zip(groups, part, strict=True) if number == 1}


def choose_fraction(cases: pd.DataFrame, fraction: float, seed: int = 0) -> set[str]:
    """Choose about ``fraction`` of the groups, at least one of every class; a larger fraction holds a smaller one.

    Args:
        cases: Columns case_id, group_id and labels ``y_*``.
        fraction: Share of the groups of each class, above 0.
        seed: Decides which.
    """
    groups, classes, counts = _group_counts(cases)
    present = counts[:, : len(classes)] > 0
    order = sorted(range(len(groups)), key=lambda g: _rank(seed, groups[g]))
    rarest = np.argmin(np.where(present, present.sum(0), np.iinfo(int).max), axis=1)
    chosen: set[int] = set()
    for number in range(len(classes)):
        own = [g for g in order if rarest[g] == number]
        chosen.update(own[: int(np.ceil(len(own) * fraction - 1e-9))])
        chosen.update([g for g in order if present[g, number]][:1])
    return {groups[g] for g in chosen}


def _group_counts(cases: pd.DataFrame, further: pd.DataFrame | None = None) -> tuple[list[str], list[str], np.ndarray]:
    """Sorted groups, class names, and cases per group: a column per class and stratum and one for all."""
    table = class_table(cases)
    grouped = (table if further is None else pd.concat([table, further], axis=1)).groupby(cases["group_id"])
    counts = grouped.sum().sort_index()
    sizes = grouped.size().loc[counts.index].to_numpy()
    return counts.index.tolist(), table.columns.tolist(), np.column_stack([counts.to_numpy(), sizes])


def _rank(seed: int, group: str) -> str:
    return hashlib.sha256(f"{seed}:{group}".encode()).hexdigest()


def _best_deal(
    groups: Sequence[str], counts: np.ndarray, shares: np.ndarray, min_counts: np.ndarray, seed: int
) -> tuple[np.ndarray, int]:
    """Part of every group, and how many required classes the parts still lack (0 unless every attempt failed)."""
    best, fewest = np.zeros(len(groups), int), np.inf
    for attempt in range(ATTEMPTS):
        ranks = [_rank(seed + attempt * 1_000_003, group) for group in groups]
        part = _improve(_deal(ranks, counts, shares), counts, shares, min_counts)
        lacking = _lacking(_presence(part, counts, min_counts), min_counts).sum()
        if lacking < fewest:
            best, fewest = part, lacking
        if lacking == 0:
            break
    return best, int(fewest)


def _deal(ranks: list[str], counts: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Deal the groups out, rarest class first, largest first, each where the imbalance grows least."""
    present = counts[:, :-1] > 0
    rarity = np.where(present, present.sum(0), len(counts) + 1).min(1)
    order = sorted(range(len(counts)), key=lambda g: (rarity[g], -counts[g, -1], ranks[g]))
    weight, target = _weights(counts), shares[:, None] * counts.sum(0)
    filled = np.zeros_like(target)
    part = np.zeros(len(counts), int)
    for group in order:
        growth = (weight * (2 * counts[group] * (filled - target) + counts[group] ** 2)).sum(1) / shares
        part[group] = np.argmin(np.round(growth, 12))
        filled[part[group]] += counts[group]
    return part


def _improve(part: np.ndarray, counts: np.ndarray, shares: np.ndarray, min_counts: np.ndarray) -> np.ndarray:
    """Move single groups as long as that helps, the best move first."""
    part, everyone = part.copy(), np.arange(len(counts))
    weight, target = _weights(counts), shares[:, None] * counts.sum(0)
    present = (counts[:, : min_counts.shape[1]] > 0).astype(int)
    for _ in range(MOVES):
        over = np.stack([counts[part == number].sum(0) for number in range(len(shares))]) - target
        square = weight * counts**2
        into = (2 * counts @ (weight * over).T + square.sum(1)[:, None]) / shares
        out = ((-2 * counts @ (weight * over).T + square.sum(1)[:, None]) / shares)[everyone, part]
        held = _presence(part, counts, min_counts)
        gain = MISSING * (present @ (held < min_counts).T)
        loss = MISSING * (present * (held <= min_counts)[part]).sum(1)
        change = into - gain + (out + loss)[:, None]
        change[everyone, part] = 0
        group, number = np.unravel_index(np.argmin(np.round(change, 12)), change.shape)
        if change[group, number] > -1e-9:
            break
        part[group] = number
    return part


def _weights(counts: np.ndarray) -> np.ndarray:
    """Weight of each count: relative to its total, sizes less than any class."""
    weight = 1 / np.maximum(counts.sum(0), 1).astype(float) ** 2
    weight[-1] /= counts.shape[1]
    return weight


def _presence(part: np.ndarray, counts: np.ndarray, min_counts: np.ndarray) -> np.ndarray:
    present = counts[:, : min_counts.shape[1]] > 0
    return np.stack([present[part == number].sum(0) for number in range(len(min_counts))])


def _lacking(held: np.ndarray, min_counts: np.ndarray) -> np.ndarray:
    return np.clip(min_counts - held, 0, None)
