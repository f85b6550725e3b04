import json
import os
import shutil

import numpy as np
import pandas as pd
import pytest

from heldout.config import BaseConfig
from heldout.data import cases as room
from heldout.data.split import check_split
from heldout.errors import UserError
from tests.data import toy


@pytest.fixture
def raw(tmp_path, monkeypatch):
    folder = toy.install(monkeypatch, tmp_path)
    toy.segmentation_toy(folder)
    return folder


@pytest.fixture
def dataset(raw):
    return room.index_dataset(toy.toy_config(), progress=False)


def edit_csv(path, change):
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    change(table).to_csv(path, index=False)


def test_every_case_is_in_one_part_and_patients_stay_together(dataset):
    assert set(dataset.cases["split"]) == {"train", "test"}
    assert dataset.cases["case_id"].is_unique
    assert (dataset.cases.groupby("patient_id")["split"].nunique() == 1).all()
    assert sorted(dataset.folds.index) == sorted(dataset.part("train")["case_id"])
    held_out = []
    for fold in range(3):
        training, validation = dataset.fold_cases(fold)
        assert not set(training["group_id"]) & set(validation["group_id"])
        assert len(training) + len(validation) == len(dataset.part("train"))
        assert set(validation["y_lesion"]) == {0.0, 1.0}
        held_out.extend(validation["case_id"])
    assert sorted(held_out) == sorted(dataset.folds.index)
    with pytest.raises(UserError, match="fold 3 does not exist"):
        dataset.fold_cases(3)


def test_a_fraction_takes_fewer_training_patients_and_all_validation_cases(dataset):
    training, validation = dataset.fold_cases(0, 0.4)
    full, same = dataset.fold_cases(0)
    assert 0 < training["patient_id"].nunique() < full["patient_id"].nunique()
    assert set(training["y_lesion"]) == {0.0, 1.0}
    pd.testing.assert_frame_equal(validation, same)


def test_truth_of_the_test_part_is_only_in_the_sealed_file(dataset):
    test = dataset.part("test")
    assert test["y_lesion"].isna().all()
    assert (test["mask"] == "").all()
    with pytest.raises(UserError, match="its labels are sealed"):
        dataset.truth(test["case_id"][0])
    sealed = room.open_sealed(dataset)
    assert sorted(sealed.labels["case_id"]) == sorted(test["case_id"])
    for case_id, label in sealed.labels.itertuples(index=False):
        assert sealed.truth(case_id).any() == bool(label)
    train = dataset.part("train")
    assert dataset.truth(train["case_id"][0]).shape == (1, 24, 20)
    with pytest.raises(UserError, match="not in the test part"):
        sealed.truth(train["case_id"][0])


def test_opening_again_gives_the_same_and_reads_no_image(dataset, raw):
    times = {path.name: path.stat().st_mtime_ns for path in dataset.folder.iterdir() if path.suffix}
    again = room.open_dataset(toy.toy_config())
    assert (again.fold_hash, again.data_hash) == (dataset.fold_hash, dataset.data_hash)
    pd.testing.assert_frame_equal(again.cases, dataset.cases)
    assert times == {path.name: path.stat().st_mtime_ns for path in dataset.folder.iterdir() if path.suffix}


def test_indexing_twice_writes_the_same_bytes_whatever_the_order_of_the_raw_table(dataset, raw):
    before = {name: (dataset.folder / name).read_bytes() for name in ("cases.parquet", "folds.csv", "sealed.parquet")}
    edit_csv(raw / "index.csv", lambda table: table.sample(frac=1, random_state=1))
    again = room.index_dataset(toy.toy_config(), progress=False)
    assert again.data_hash == dataset.data_hash
    assert before == {name: (again.folder / name).read_bytes() for name in before}


def test_other_settings_have_their_own_folder(dataset):
    assert room.open_dataset(toy.toy_config(fold_seed=1)).folder != dataset.folder
    assert room.open_dataset(toy.toy_config(lr=0.5)).folder == dataset.folder


def test_a_case_moved_to_another_fold_by_hand_is_refused_by_patient(dataset):
    case_id, fold = dataset.folds.index[0], int(dataset.folds.iloc[0])
    patient = dataset.row(case_id)["patient_id"]
    edit_csv(
        dataset.folder / "folds.csv",
        lambda table: table.assign(fold=table["fold"].where(table["case_id"] != case_id, (fold + 1) % 3)),
    )
    with pytest.raises(UserError, match=f"patient {patient} is in the folds .*folds.csv.*undo the change"):
        room.open_dataset(toy.toy_config())


def test_a_whole_patient_moved_to_another_fold_by_hand_is_refused(dataset):
    patient = dataset.part("train")["patient_id"][0]
    fold = int(dataset.folds.iloc[0])
    edit_csv(
        dataset.folder / "folds.csv",
        lambda table: table.assign(fold=table["fold"].where(table["patient_id"] != patient, (fold + 1) % 3)),
    )
    with pytest.raises(UserError, match=f"patient {patient} was moved from fold {fold} to fold"):
        room.open_dataset(toy.toy_config())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda table: pd.concat([table, table.iloc[:1]]), "is listed twice"),
        (lambda table: table.iloc[1:], "is missing"),
        (lambda table: table.assign(case_id=table["case_id"].str.upper()), "is missing"),
        (lambda table: pd.concat([table, table.iloc[:1].assign(case_id="other")]), "case other.*not a training case"),
        (lambda table: table.drop(columns="fold"), "cannot be read"),
        (lambda table: table.iloc[::-1], "was changed"),
    ],
)
def test_an_edited_fold_table_is_refused(dataset, change, words):
    edit_csv(dataset.folder / "folds.csv", change)
    with pytest.raises(UserError, match=f"{words}.*undo the change, or run `folds --rebuild`"):
        room.open_dataset(toy.toy_config())


def test_indexing_again_makes_an_edited_fold_table_anew(dataset):
    edit_csv(dataset.folder / "folds.csv", lambda table: table.iloc[1:])
    again = room.index_dataset(toy.toy_config(), progress=False)
    assert again.fold_hash == dataset.fold_hash


@pytest.mark.parametrize("name", ["cases.parquet", "sealed.parquet"])
def test_edited_tables_are_refused_by_file(dataset, name):
    table = pd.read_parquet(dataset.folder / name)
    table.assign(y_lesion=1.0).to_parquet(dataset.folder / name)
    with pytest.raises(UserError, match=f"{name} was changed"):
        room.open_dataset(toy.toy_config())


def test_a_missing_raw_file_is_named(dataset, raw):
    (raw / "p03_1.image.npy").unlink()
    with pytest.raises(UserError, match=r"p03_1\.image\.npy is missing: restore it"):
        room.open_dataset(toy.toy_config())


@pytest.mark.parametrize("part", ["train", "test"])
@pytest.mark.parametrize("name", ["image", "mask"])
def test_a_changed_raw_file_is_named(dataset, raw, part, name):
    case_id = dataset.part(part)["case_id"][0]
    array = np.load(raw / f"{case_id}.{name}.npy")
    array[0, 0, 0] ^= 1
    np.save(raw / f"{case_id}.{name}.npy", array)
    with pytest.raises(UserError, match=rf"{case_id}\.{name}\.npy.*changed after it was indexed"):
        room.open_dataset(toy.toy_config())


def test_an_edited_index_of_the_raw_data_is_refused(dataset, raw):
    edit_csv(raw / "index.csv", lambda table: table.assign(patient_id="p00"))
    with pytest.raises(UserError, match=r"index\.csv changed after it was indexed.*folds --rebuild"):
        room.open_dataset(toy.toy_config())


def test_a_fresh_copy_of_the_raw_data_is_accepted(dataset, raw, tmp_path):
    shutil.copytree(raw, tmp_path / "copy")
    shutil.rmtree(raw)
    shutil.copytree(tmp_path / "copy", raw, copy_function=shutil.copyfile)
    for path in raw.iterdir():
        os.utime(path, (1, 1))
    assert room.open_dataset(toy.toy_config()).data_hash == dataset.data_hash


def given_parts(raw, parts):
    """A toy whose patients p00, p01, ... come with parts."""
    table = pd.read_csv(raw / "index.csv", dtype=str, keep_default_na=False)
    table["split"] = table["patient_id"].map(parts).fillna(table["split"])
    table.to_csv(raw / "index.csv", index=False)


def test_given_parts_are_kept(raw):
    given_parts(raw, {"p00": "test", "p01": "test", "p02": "submit"})
    dataset = room.index_dataset(toy.toy_config(), progress=False)
    assert set(dataset.part("test")["patient_id"]) == {"p00", "p01"}
    assert set(dataset.part("submit")["patient_id"]) == {"p02"}
    assert dataset.part("submit")["y_lesion"].isna().all()
    assert len(dataset.part("train")) == 18


def test_only_undecided_patients_are_locked_away(raw):
    given_parts(raw, {f"p{number:02d}": "train" for number in range(6)})
    dataset = room.index_dataset(toy.toy_config(test_fraction=0.3), progress=False)
    assert len(dataset.part("test"))
    assert min(dataset.part("test")["patient_id"]) >= "p06"


def test_a_training_copy_of_a_given_test_image_is_refused_or_set_aside(raw):
    given_parts(raw, {"p00": "test", "p01": "test"})
    shutil.copyfile(raw / "p00_0.image.npy", raw / "p04_1.image.npy")
    with pytest.raises(UserError, match=r"(?s)p04_0.*patient p04.*own test part"):
        room.index_dataset(toy.toy_config(), progress=False)
    dataset = room.index_dataset(toy.toy_config(), skip_bad=True, progress=False)
    report = room.leak_report(dataset)
    assert [case.case_id for case in report.skipped] == ["p04_0", "p04_1"]
    assert report.exact == [["p00_0", "p04_1"]]


def test_copies_of_two_patients_share_a_fold(raw):
    shutil.copyfile(raw / "p00_0.image.npy", raw / "p05_1.image.npy")
    dataset = room.index_dataset(toy.toy_config(), progress=False)
    groups = dataset.cases.set_index("case_id")["group_id"]
    assert groups["p00_1"] == groups["p05_0"]
    report = room.leak_report(dataset)
    assert report.conflicts == [["p00_0", "p05_1"]]


def test_the_report_is_json_and_counts_every_case(dataset):
    report = json.loads(json.dumps(room.leak_report(dataset).to_json(), allow_nan=False))
    rows = {row["part"]: row for row in report["rows"]}
    assert sum(rows[f"fold {fold}"]["cases"] for fold in range(3)) == rows["train"]["cases"]
    assert rows["train"]["cases"] + rows["test"]["cases"] == 24
    assert rows["train"]["lesion"] + rows["test"]["lesion"] == 12
    assert list(rows["train"]) == report["columns"]
    assert report["found"] == ["toy line"]
    assert report["caveats"] == ["toy data"]


def test_no_source_is_a_clear_complaint(raw):
    with pytest.raises(UserError, match="set source"):
        room.open_dataset(toy.toy_config(source=""))


def test_volumes_without_a_spatial_unit_are_noted(tmp_path, monkeypatch):
    import nibabel

    monkeypatch.setenv("HELDOUT_DATA", str(tmp_path / "raw"))
    monkeypatch.setenv("HELDOUT_HOME", str(tmp_path / "home"))
    (tmp_path / "raw/units").mkdir(parents=True)
    lines = ["id,path,sick"]
    for number in range(8):
        volume = nibabel.Nifti1Image(np.random.default_rng(number).random((9, 8, 7)).astype(np.float32), np.eye(4))
        volume.header["xyzt_units"] = 0 if number > 4 else 2
        nibabel.save(volume, tmp_path / f"raw/units/{number}.nii")
        lines.append(f"c{number},{number}.nii,{number % 2}")
    (tmp_path / "raw/units/cases.csv").write_text("\n".join(lines))
    config = BaseConfig(dataset="units", source="table", source_options={"dimensions": 3}, fold_count=2)
    report = room.leak_report(room.index_dataset(config, progress=False))
    assert report.found == [
        "3 of 8 cases, such as c5: the header states no spatial unit (xyzt_units 0), millimeters are assumed"
    ]


def test_folds_of_the_dataset_are_kept_and_derived_again(tmp_path, monkeypatch):
    import nibabel

    root = tmp_path / "raw/nnunet"
    monkeypatch.setenv("HELDOUT_DATA", str(tmp_path / "raw"))
    monkeypatch.setenv("HELDOUT_HOME", str(tmp_path / "home"))
    for folder, kind in (("imagesTr", np.int16), ("labelsTr", np.uint8)):
        (root / folder).mkdir(parents=True)
        for number in range(6):
            volume = np.random.default_rng(number).integers(0, 2 if kind is np.uint8 else 900, (9, 8, 7)).astype(kind)
            nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), root / folder / f"c_{number}.nii.gz")
    (root / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "a": 1}}))
    parts = [["c_5", "c_0"], ["c_1", "c_2", "c_3", "c_4"]]
    (root / "splits_final.json").write_text(json.dumps([{"train": [], "val": names} for names in parts]))
    fields = {"dataset": "nnunet", "source": "msd", "source_options": {"splits": True}, "test_fraction": 0.0}
    config = BaseConfig(fold_count=2, **fields)
    dataset = room.index_dataset(config, progress=False)
    assert {fold: sorted(same.index) for fold, same in dataset.folds.groupby(dataset.folds)} == {
        fold: sorted(names) for fold, names in enumerate(parts)
    }
    check_split(room.open_dataset(config), config)
    with pytest.raises(UserError, match="own folds are 2, fold_count = 3: set fold_count = 2"):
        room.index_dataset(BaseConfig(fold_count=3, **fields), progress=False)


def test_a_dataset_whose_copies_were_searched_by_the_earlier_rule_keeps_its_groups(dataset, raw):
    path = dataset.folder / "index.json"
    record = json.loads(path.read_text())
    assert record.pop("near_rule") == 2
    path.write_text(json.dumps(record))
    first = np.load(raw / "p00_0.image.npy")
    np.save(raw / "p01_0.image.npy", np.ascontiguousarray(first[:, :, ::-1]))
    again = room.index_dataset(toy.toy_config(), progress=False)
    assert "near_rule" not in json.loads(path.read_text())
    assert again.row("p01_0")["group_id"] == "p01"
    assert any("searched by an earlier rule" in line for line in room.leak_report(again).caveats)
    shutil.rmtree(dataset.folder)
    assert room.open_dataset(toy.toy_config()).row("p01_0")["group_id"] == "p00"
