import numpy as np
import pandas as pd
import pytest

from heldout.data import cases as room
from heldout.data.prepare import open_prepared
from heldout.data.records import read_leaks
from heldout.data.split import check_split
from heldout.errors import UserError
from heldout.search.trial import inner_dataset
from tests.data import toy


@pytest.fixture
def raw(tmp_path, monkeypatch):
    folder = toy.install(monkeypatch, tmp_path)
    toy.segmentation_toy(folder)
    toy.segmentation_toy(folder.parent / "others", patients=4)
    for number, path in enumerate(sorted((folder.parent / "others").glob("*.image.npy"))):
        np.save(path, toy.textured(5000 + number))
    return folder


def test_they_train_in_every_fold_and_are_nowhere_else(raw):
    config = toy.toy_config(extra="others")
    dataset, plain = room.open_dataset(config), room.open_dataset(toy.toy_config())
    added = dataset.part("extra")
    assert sorted(added["case_id"]) == sorted(f"others-p{p:02d}_{n}" for p in range(4) for n in range(2))
    pd.testing.assert_series_equal(dataset.folds, plain.folds)
    assert dataset.folder != plain.folder
    assert dataset.data_hash != plain.data_hash
    for fold in range(3):
        training, validation = dataset.fold_cases(fold)
        assert set(added["case_id"]) <= set(training["case_id"])
        assert not set(added["case_id"]) & set(validation["case_id"])
    prepared = open_prepared(dataset, config, progress=False)
    for row in added.to_dict("records"):
        assert prepared.mask(row["case_id"]).any() == bool(row["y_lesion"])
        assert (dataset.truth(row["case_id"]) == dataset.source.read_mask(row)).all()
    check_split(dataset, config)
    assert any("8 further cases of others train in every fold" in line for line in read_leaks(dataset.folder).caveats)
    (row,) = [row for row in room.leak_report(dataset).rows if row.part == "extra"]
    assert (row.cases, row.patients, row.classes["lesion"]) == (8, 4, 4)


def test_inner_folds_of_a_search_never_score_them(raw):
    dataset = inner_dataset(room.open_dataset(toy.toy_config(extra="others")), 0, 2, 0)
    assert not dataset.folds.index.str.startswith("others-").any()
    training, validation = dataset.fold_cases(0)
    assert training["case_id"].str.startswith("others-").sum() == 8
    assert not validation["case_id"].str.startswith("others-").any()


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_copy_of_a_case_is_refused_or_set_aside(raw, part):
    twin = room.open_dataset(toy.toy_config()).part(part)["case_id"].iloc[0]
    np.save(raw.parent / "others" / "p02_1.image.npy", np.load(raw / f"{twin}.image.npy")[:, :, ::-1].copy())
    with pytest.raises(UserError, match=rf"others-p02_1: it shows the same as case {twin[:3]}_\d of the dataset"):
        room.open_dataset(toy.toy_config(extra="others"))
    dataset = room.open_dataset(toy.toy_config(extra="others", skip_bad=True))
    assert "others-p02_1" not in set(dataset.part("extra")["case_id"])
    assert "others-p02_1" in (dataset.folder / "skipped.csv").read_text()


def test_a_dataset_that_does_not_fit_is_named(raw):
    with pytest.raises(
        UserError, match=r"extra others has classes = \('spot',\), toys has \('lesion',\): correct extra_"
    ):
        room.open_dataset(toy.toy_config(extra="others", extra_options={"classes": "spot"}))
    with pytest.raises(UserError, match="extra = 'toys' is the dataset itself"):
        room.open_dataset(toy.toy_config(extra="toys"))
    with pytest.raises(UserError, match=r"dataset folder .*nowhere does not exist"):
        room.open_dataset(toy.toy_config(extra="nowhere"))
