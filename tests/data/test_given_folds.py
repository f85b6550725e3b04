import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heldout.config import BaseConfig
from heldout.data import cases as room
from heldout.data.given_folds import given_folds, leak_text, read_folds_file
from heldout.data.records import read_leaks
from heldout.data.split import check_split
from heldout.errors import UserError
from tests.data import toy
from tests.data.test_folds import multi_label_tables, table


def test_folds_of_a_dataset_are_taken_as_they_are():
    cases = table([0, 0, 1, 2], [1, 1, 1, 0])
    cases["patient_id"] = cases["group_id"]
    given = {"c0000": 0, "c0001": 0, "c0002": 1, "c0003": 1, "elsewhere": 0}
    assert given_folds(cases, given, 2).to_dict() == {"c0000": 0, "c0001": 0, "c0002": 1, "c0003": 1}


@pytest.mark.parametrize(
    ("folds", "fold_count", "message"),
    [
        ([0, 0, 1, 1], 5, "own folds are 2, fold_count = 5: set fold_count = 2"),
        (
            [0, 1, 1, 0],
            2,
            r"own folds leak, several folds share 1 patient \(g0: c0000 in fold 0, c0001 in fold 1\): leave them",
        ),
        ([0, 0, 0, 1], 2, "fold 1 of the dataset's own folds holds no case of class 0"),
    ],
)
def test_folds_of_a_dataset_that_leak_or_lack_a_class_are_refused(folds, fold_count, message):
    cases = table([0, 0, 1, 2], [1, 1, 1, 0])
    cases["patient_id"] = cases["group_id"]
    with pytest.raises(UserError, match=message):
        given_folds(cases, dict(zip(cases["case_id"], folds, strict=True)), fold_count)


@settings(max_examples=60, deadline=None)
@given(multi_label_tables(), st.integers(2, 4), st.data())
def test_given_folds_are_accepted_exactly_where_no_group_crosses(cases, fold_count, data):
    groups = sorted(set(cases["group_id"]))
    of_group = {group: number % fold_count for number, group in enumerate(groups)}
    fold = cases["group_id"].map(of_group)
    if data.draw(st.booleans()):
        fold.iloc[data.draw(st.integers(0, len(cases) - 1))] = data.draw(st.integers(0, fold_count - 1))
    crosses = (fold.groupby(cases["group_id"]).nunique() > 1).any()
    cases = cases.assign(patient_id=cases["group_id"])
    labels = cases.filter(regex="^y_").groupby(fold.to_numpy()).sum()
    given = dict(zip(cases["case_id"], fold, strict=True))
    assert bool(leak_text(cases, fold)) == crosses
    if len(labels) < fold_count or not (labels > 0).all(axis=None):
        return
    if crosses:
        with pytest.raises(UserError, match="leak, several folds share 1 patient "):
            given_folds(cases, given, fold_count)
        given_folds(cases, given, fold_count, accepted="known")
    else:
        assert given_folds(cases, given, fold_count).to_dict() == given


def cases_of(patients="ppqqrr"):
    ids = [f"c{number}" for number in range(len(patients))]
    return pd.DataFrame({"case_id": ids, "patient_id": list(patients)})


@pytest.mark.parametrize(
    "text",
    [
        "id,fold\nc0,0\nc1,0\nc2,1\nc3,1\nc4,2\nc5,2\nelsewhere,1\n",
        "image,kfold\nc0.png,0\nc1.png,0\nc2.png,1\nc3.png,1\nc4.png,2\nc5.png,2\n",
        "Fold,PatientID\n1,p\n2,q\n3,r\n",
        "id,age,fold\nc0,1,1.0\nc1,1,1.0\nc2,1,2.0\nc3,1,2.0\nc4,1,3.0\nc5,1,3.0\n",
    ],
    ids=["case ids", "file names", "patients, from one", "floats, from one"],
)
def test_tables_of_folds_as_people_share_them(tmp_path, text):
    path = tmp_path / "folds.csv"
    path.write_text(text)
    expected = {"c0": 0, "c1": 0, "c2": 1, "c3": 1, "c4": 2, "c5": 2}
    assert read_folds_file(path, cases_of(), {}) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,part\nc0,0\n", r"folds.csv has no column fold: it has id, part; rename"),
        ("id,fold\nc0,0\nc1,-1\n", r"folds.csv row 3 has fold = '-1': folds are whole numbers from 0"),
        ("id,fold\nx,0\ny,1\n", r"folds.csv has no column of case ids or patients such as c0: add one"),
        ("id,fold\nc0,0\nc0,1\n", r"folds.csv puts id c0 into several folds: give each one fold"),
        ("id,fold\nc0,0\nc1,0\nc2,1\nc3,1\nc4,1\n", r"folds.csv has no fold for 1 training cases, such as c5"),
    ],
)
def test_a_table_of_folds_that_does_not_fit_is_refused_by_name(tmp_path, text, message):
    path = tmp_path / "folds.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        read_folds_file(path, cases_of(), {})


@pytest.fixture
def raw(tmp_path, monkeypatch):
    folder = toy.install(monkeypatch, tmp_path)
    toy.segmentation_toy(folder)
    index = pd.read_csv(folder / "index.csv", dtype=str, keep_default_na=False)
    number = index["patient_id"].str[1:].astype(int)
    index["site"] = np.array(["A", "B", "C"])[(number // 2) % 3]
    index["age"] = (20 + 3 * number).astype(str)
    index.to_csv(folder / "index.csv", index=False)
    return folder


def share(raw, change=lambda folds: folds):
    patients = sorted(pd.read_csv(raw / "index.csv")["case_id"])
    folds = pd.DataFrame({"id": patients, "fold": [int(case[1:3]) // 2 % 3 for case in patients]})
    change(folds).to_csv(raw / "folds.csv", index=False)


def test_a_shared_table_is_used_put_on_record_and_watched(raw):
    share(raw)
    config = toy.toy_config(folds_file="folds.csv")
    dataset = room.open_dataset(config)
    assert dataset.folds.to_dict() == {case: int(case[1:3]) // 2 % 3 for case in dataset.part("train")["case_id"]}
    assert any("hold no patient and no copy in two folds" in line for line in read_leaks(dataset.folder).found)
    check_split(dataset, config)
    assert room.open_dataset(toy.toy_config()).folder != dataset.folder
    share(raw, lambda folds: folds.assign(fold=(folds["fold"] + 1) % 3))
    with pytest.raises(UserError, match=r"folds.csv changed after its folds were taken: undo the change"):
        room.open_dataset(config)
    assert room.index_dataset(config, progress=False).fold_hash != dataset.fold_hash


def test_a_shared_table_that_leaks_is_refused_or_accepted_with_the_reason_on_record(raw):
    share(raw, lambda folds: folds.assign(fold=folds["fold"].where(folds["id"] != "p03_0", 2)))
    with pytest.raises(
        UserError, match=r"folds.csv leak, several folds share 1 patient \(p03: p03_0 in fold 2, p03_1 in"
    ):
        room.open_dataset(toy.toy_config(folds_file="folds.csv", test_fraction=0.0))
    config = toy.toy_config(folds_file="folds.csv", accept_leaks="as the winners had them", test_fraction=0.0)
    dataset = room.open_dataset(config)
    assert (dataset.folds["p03_0"], dataset.folds["p03_1"]) == (2, 1)
    (caveat,) = [line for line in read_leaks(dataset.folder).caveats if "leak" in line]
    assert "1 patient (p03: " in caveat
    assert caveat.endswith("Accepted because: as the winners had them")
    check_split(room.open_dataset(config), config)


def test_a_missing_table_and_contradictory_fields_are_refused(raw):
    with pytest.raises(UserError, match=r"folds_file .*none.csv does not exist, nor does .*: correct folds_file"):
        room.open_dataset(toy.toy_config(folds_file="none.csv"))
    with pytest.raises(ValueError, match="folds_file gives the folds: leave out fold_by and stratify"):
        toy.toy_config(folds_file="folds.csv", stratify=("site",))
    with pytest.raises(ValueError, match="accept_leaks is about a folds_file"):
        toy.toy_config(accept_leaks="why not")


def test_leaving_one_site_out(raw):
    config = toy.toy_config(fold_by="site")
    dataset = room.open_dataset(config)
    train = dataset.part("train")
    assert list(train["case_id"].map(dataset.folds)) == ["ABC".index(site) for site in train["c_site"]]
    check_split(dataset, config)
    with pytest.raises(UserError, match=r"the folds by site are 3, fold_count = 4: set fold_count = 3"):
        room.open_dataset(toy.toy_config(fold_by="site", fold_count=4))
    with pytest.raises(UserError, match=r"has the column 'hospital'.*it has case_id, .*site, age; correct stratify"):
        room.open_dataset(toy.toy_config(fold_by="hospital"))


def test_sites_stay_together_and_ages_are_balanced(raw):
    config = toy.toy_config(group=("patient", "site"), fold_count=2, test_fraction=0.0)
    dataset = room.open_dataset(config)
    train = dataset.part("train")
    assert train["group_id"].nunique() == 3
    assert (train["case_id"].map(dataset.folds).groupby(train["c_site"]).nunique() == 1).all()
    check_split(dataset, config)
    stratified = room.open_dataset(toy.toy_config(stratify=("label", "age:2"), test_fraction=0.0))
    ages = stratified.part("train")["c_age"].astype(int)
    old = (ages > ages.median()).groupby(stratified.part("train")["case_id"].map(stratified.folds)).sum()
    assert old.max() - old.min() <= 2
    check_split(stratified, toy.toy_config(stratify=("label", "age:2"), test_fraction=0.0))
    assert any(line.startswith("age: 12 values in 24 training cases") for line in read_leaks(stratified.folder).found)


def test_folders_of_experiments_without_these_fields_keep_their_names(raw):
    assert room.dataset_folder(BaseConfig(dataset="d", source="s"), False).name == "d-1a6d629f"
