import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heldout.data.folds import choose_fraction, choose_test, class_table, make_folds, strata
from heldout.errors import UserError


def table(groups, labels):
    frame = pd.DataFrame({"case_id": [f"c{i:04d}" for i in range(len(groups))], "group_id": [f"g{g}" for g in groups]})
    for number, column in enumerate(np.asarray(labels).reshape(len(groups), -1).T):
        frame[f"y_{number}"] = column.astype(float)
    return frame


@st.composite
def multi_label_tables(draw):
    group_count, classes = draw(st.integers(12, 40)), draw(st.integers(1, 4))
    generator = np.random.default_rng(draw(st.integers(0, 10_000)))
    groups = np.repeat(np.arange(group_count), generator.integers(1, 5, group_count))
    labels = generator.random((len(groups), classes)) < generator.uniform(0.05, 0.6, classes)
    for number in range(classes):  # the rarest class still has a group for every fold
        labels[np.isin(groups, generator.choice(group_count, 4, replace=False)), number] = True
    return table(groups, labels)


@settings(max_examples=80, deadline=None)
@given(multi_label_tables(), st.integers(2, 4), st.integers(0, 5))
def test_folds_keep_groups_hold_every_class_and_are_balanced(cases, fold_count, seed):
    folds = make_folds(cases, fold_count, seed)
    assert sorted(folds.index) == sorted(cases["case_id"])
    assert folds.index.is_unique
    assert set(folds) == set(range(fold_count))
    cases = cases.assign(fold=cases["case_id"].map(folds), size=1)
    assert (cases.groupby("group_id")["fold"].nunique() == 1).all()
    for name in cases.filter(regex="^y_|size"):
        counts = cases.groupby("fold")[name].sum()
        assert (counts > 0).all()
        assert counts.max() - counts.min() <= 4 * cases.groupby("group_id")[name].sum().max()


@settings(max_examples=40, deadline=None)
@given(multi_label_tables(), st.randoms(use_true_random=False))
def test_the_order_of_rows_plays_no_part(cases, random):
    order = list(range(len(cases)))
    random.shuffle(order)
    shuffled = cases.iloc[order].reset_index(drop=True)
    pd.testing.assert_series_equal(make_folds(cases, 3, 0), make_folds(shuffled, 3, 0))
    assert choose_test(cases, 0.2, 3, 0) == choose_test(shuffled, 0.2, 3, 0)
    assert choose_fraction(cases, 0.4) == choose_fraction(shuffled, 0.4)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 2), min_size=30, max_size=120), st.integers(2, 5))
def test_single_cases_of_exclusive_classes_are_spread_evenly(labels, fold_count):
    labels = [0] * 5 + [1] * 5 + [2] * 5 + labels
    cases = table(range(len(labels)), np.eye(3)[labels])
    folds = make_folds(cases, fold_count, 0)
    for number in range(3):
        counts = cases.groupby(cases["case_id"].map(folds))[f"y_{number}"].sum()
        assert counts.max() - counts.min() <= 1


def test_the_seed_changes_the_folds():
    cases = table(range(60), np.arange(60) % 2)
    assert not make_folds(cases, 5, 0).equals(make_folds(cases, 5, 1))
    assert make_folds(cases, 5, 1).equals(make_folds(cases, 5, 1))


def test_a_class_with_too_few_patients_is_named_with_the_remedy():
    cases = table([0, 0, 0, 1, 2, 3, 4, 5, 6, 7], [1, 1, 1, 1, 0, 0, 0, 0, 0, 0])
    with pytest.raises(UserError, match=r"Class 0 occurs in only 2 patient groups.*fold_count = 2"):
        make_folds(cases, 5, 0)
    make_folds(cases, 2, 0)


def test_a_class_without_cases_is_no_obstacle_and_negatives_are_needed_on_request():
    cases = table(range(10), np.stack([np.ones(10), np.zeros(10)], axis=1))
    make_folds(cases, 5, 0)
    nearly_all = table(range(10), [0] + [1] * 9)
    make_folds(nearly_all, 5, 0)
    with pytest.raises(UserError, match="without any class"):
        make_folds(nearly_all, 5, 0, needs_negatives=True)


def test_more_folds_than_patients_are_refused():
    with pytest.raises(UserError, match="fold_count lower"):
        make_folds(table([0, 0, 1], [0, 0, 0]), 3, 0)


@settings(max_examples=40, deadline=None)
@given(multi_label_tables(), st.integers(0, 5))
def test_the_test_part_has_its_share_and_leaves_enough_for_the_folds(cases, seed):
    locked = choose_test(cases, 0.2, 3, seed)
    inside = cases["group_id"].isin(locked)
    assert 0.05 < inside.mean() < 0.4
    make_folds(cases[~inside], 3, 0)


def test_the_test_part_is_stratified():
    cases = table(range(200), np.arange(200) % 10 == 0)
    inside = cases["group_id"].isin(choose_test(cases, 0.15, 5, 0))
    assert inside.sum() == 30
    assert cases["y_0"][inside].sum() == 3
    assert choose_test(cases, 0.0, 5, 0) == set()


@settings(max_examples=40, deadline=None)
@given(multi_label_tables(), st.floats(0.02, 0.5))
def test_a_fraction_keeps_every_class_and_grows_by_adding(cases, fraction):
    small, large = choose_fraction(cases, fraction), choose_fraction(cases, min(1.0, 2 * fraction))
    assert small <= large
    chosen = cases[cases["group_id"].isin(small)]
    assert (chosen.filter(regex="^y_").sum() > 0).all()
    assert choose_fraction(cases, 1.0) == set(cases["group_id"])


@pytest.mark.parametrize("name", ["none", "size", "fold", "cases", "patients", "groups", "part", "case_id", "group_id"])
def test_a_class_may_be_called_like_any_column(name):
    cases = table(range(40), np.stack([np.arange(40) % 4 == 0, np.arange(40) % 3 == 0], axis=1))
    named = cases.rename(columns={"y_0": f"y_{name}"})
    pd.testing.assert_series_equal(make_folds(named, 3, 0), make_folds(cases, 3, 0))
    assert choose_test(named, 0.2, 3, 0) == choose_test(cases, 0.2, 3, 0)
    counts = class_table(named)
    assert counts.columns.is_unique
    assert counts.sum().tolist() == class_table(cases).sum().tolist()
    rare = table(range(12), np.arange(12) < 2).rename(columns={"y_0": f"y_{name}"})
    with pytest.raises(UserError, match=rf"Class {name} occurs in only 2 patient groups.*set fold_count = 2"):
        make_folds(rare, 3, 0)


@settings(max_examples=40, deadline=None)
@given(multi_label_tables(), st.integers(2, 4), st.integers(2, 5), st.integers(0, 5))
def test_further_columns_are_balanced_and_nothing_else_changes(cases, fold_count, bins, seed):
    generator = np.random.default_rng(seed)
    sites = {group: "ABC"[number % 3] for number, group in enumerate(sorted(set(cases["group_id"])))}
    cases["c_site"] = cases["group_id"].map(sites)
    cases["c_age"] = [str(age) for age in generator.integers(20, 90, len(cases))]
    stratify = ("label", "site", f"age:{bins}")
    table = strata(cases, stratify, fold_count)
    assert (table.sum(axis=1) == 2).all()
    folds = make_folds(cases, fold_count, seed, stratify=stratify)
    cases = cases.assign(fold=cases["case_id"].map(folds))
    assert (cases.groupby("group_id")["fold"].nunique() == 1).all()
    assert (cases.groupby("fold")[list(cases.filter(regex="^y_"))].sum() > 0).all(axis=None)
    largest = cases.groupby("group_id").size().max()
    for name in table:
        counts = table[name].groupby(cases["fold"]).sum()
        assert counts.max() - counts.min() <= 6 * largest


def test_stratified_sites_and_ages_are_spread_over_the_folds():
    generator = np.random.default_rng(0)
    cases = table(range(240), generator.random(240) < 0.3)
    cases["c_site"] = np.where(generator.random(240) < 0.25, "small", "large")
    cases["c_age"] = [str(age) for age in generator.integers(20, 90, 240)]

    def worst(stratify):
        folds = make_folds(cases, 4, 0, stratify=stratify)
        spread = strata(cases, ("site", "age:4"), 4).groupby(cases["case_id"].map(folds).to_numpy()).sum()
        return (spread.max() - spread.min()).max()

    assert worst(("site", "age:4")) <= 2 < worst(())


def test_a_column_with_too_many_values_is_refused_with_the_remedy():
    cases = table(range(40), np.arange(40) % 2).assign(c_age=[str(n) for n in range(40)], c_site="x")
    with pytest.raises(UserError, match=r"age has 40 values in 40 cases.*such as age:5"):
        make_folds(cases, 4, 0, stratify=("age",))
    with pytest.raises(UserError, match=r"site holds 'x', which is not a number: write site without bins"):
        make_folds(cases, 4, 0, stratify=("site:3",))
    with pytest.raises(UserError, match=r"'age:one' is not a column with a number of bins: write it as age:5"):
        make_folds(cases, 4, 0, stratify=("age:one",))
