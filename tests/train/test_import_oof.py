"""Predictions made elsewhere become a member: checked, ranked, blended and sealed; what cannot be verified is shown."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path
from types import SimpleNamespace

import nibabel
import numpy as np
import pandas as pd
import pytest

from heldout.blend.members import load_member
from heldout.blend.search import blend
from heldout.cli import run as command
from heldout.config import load
from heldout.data.cases import open_dataset
from heldout.errors import UserError
from heldout.evaluate.collect import find_row
from heldout.train.fit import fit_fold
from heldout.train.import_files import read_foreign, read_foreign_map
from heldout.train.import_run import export_map, import_oof
from heldout.train.imported import imported_folder


def exported(spec: str, folder) -> pd.DataFrame:
    assert command(["export-oof", spec, "--output", str(folder)]) == 0
    return pd.read_csv(folder / "oof.csv", dtype={"id": str})


def test_an_exported_run_comes_back_with_the_same_score(finish, tmp_path):
    spec = finish(seeds=(0,))
    table = exported(spec, tmp_path / "out")
    table["fold"] = 7 - table["fold"]  # other numbers of the same folds
    table.to_csv(tmp_path / "oof.csv", index=False)
    record = import_oof("ana", tmp_path / "oof.csv", "Ana")
    assert record.folds == "verified"
    row, original = find_row(record.spec), find_row(spec)
    assert row.score == pytest.approx(original.score, abs=1e-6)
    assert row.note == f"{record.spec}: predictions of Ana, made elsewhere"
    assert not row.missing
    with pytest.raises(UserError, match="ana was imported before: choose another name, or delete"):
        import_oof("ana", tmp_path / "oof.csv", "Ana")


def test_folds_that_a_file_does_not_name_are_not_verifiable_and_shown_so(finish, tmp_path):
    spec = finish(folds=(0, 1), seeds=(0,))
    exported(spec, tmp_path / "out").drop(columns="fold").to_csv(tmp_path / "oof.csv", index=False)
    import_oof("ana", tmp_path / "oof.csv", "Ana", like=spec)
    decision = blend([spec, "ana"], "both", trials=4, progress=False)
    assert any("folds not verifiable" in note for note in decision.notes)
    for name in ("both", decision.members[1].spec):
        assert "folds not verifiable" in find_row(name).note
    row = find_row("ana")  # by the name that it was imported under
    assert row.name == decision.members[1].spec
    assert row.note.startswith("folds not verifiable")  # where a table cuts what follows


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda t: t.assign(fold=np.arange(len(t)) % 5), "has another fold table: its fold 0 holds cases of the folds"),
        (lambda t: t.drop(t.index[3]), "has no prediction of case .*, while others of fold . have one"),
        (lambda t: pd.concat([t, t[:1]]), "predicts case .* twice: keep one row per case"),
        (
            lambda t: t.assign(id=t["id"].replace(t["id"][0], "stranger")),
            "'stranger', which is not a case of",
        ),
        (lambda t: t.rename(columns={t.columns[-1]: "other"}), "has no column .*: write a probability per class"),
        (lambda t: t.assign(**{t.columns[-1]: 3.5}), "predicts 3.5 for case .*: a probability is in 0 ... 1"),
        (lambda t: t.assign(**{t.columns[-1]: "high"}), "row 2 has .* = 'high': write a finite number"),
        (lambda t: t.rename(columns={"id": "key"}), "has no column of ids: call it id"),
    ],
)
def test_files_that_do_not_fit_are_refused(finish, tmp_path, spoil, message):
    spec = finish(folds=(0, 1), seeds=(0,))
    spoil(exported(spec, tmp_path / "out")).to_csv(tmp_path / "oof.csv", index=False)
    with pytest.raises(UserError, match=message):
        import_oof("ana", tmp_path / "oof.csv", "Ana", like=spec)
    assert not imported_folder("ana").exists()


def test_an_archive_is_read_and_the_dataset_found_by_its_cases(finish, tmp_path):
    spec = finish(folds=(0, 1), seeds=(0,))
    table = exported(spec, tmp_path / "out")
    values = table.filter(like="p_").to_numpy()
    np.savez(tmp_path / "oof.npz", id=table["id"].to_numpy(str), p=values, fold=table["fold"])
    record = import_oof("ana", tmp_path / "oof.npz", "Ana")
    assert "imported=ana" in record.spec
    np.testing.assert_allclose(load_member("ana").table.filter(like="p_").to_numpy(), values, atol=1e-6)
    config = load(record.spec)
    with pytest.raises(UserError, match="was predicted elsewhere and is not trained"):
        fit_fold(config, open_dataset(config), 2, 0, quiet=True)
    with pytest.raises(UserError, match="no other flips: leave out tta="):
        load_member("ana/tta=h")


def test_a_folder_of_nnu_net_is_read_with_its_folds(masks, tmp_path):
    spec = masks[0]
    member = load_member(spec)
    folder = tmp_path / "nnunet"
    for case_id, fold in zip(member.cases["case_id"], member.cases["fold"], strict=True):
        values = member.prediction(case_id).map
        place = folder / f"fold_{fold}" / "validation"
        place.mkdir(parents=True, exist_ok=True)
        background = 255 - values.max(0, keepdims=True)
        probabilities = np.concatenate([background, values]) / 255 if len(values) == 1 else values / 255
        np.savez(place / f"{case_id}.npz", probabilities=probabilities.astype(np.float32))
    record = import_oof("nnunet", folder, "nnU-Net", like=spec)
    assert record.folds == "verified"
    assert find_row(record.spec).score == pytest.approx(find_row(spec).score, abs=1e-6)
    shutil.rmtree(folder / "fold_1")
    first = next((folder / "fold_0" / "validation").glob("*.npz"))
    np.savez(first, probabilities=np.zeros((2, 5, 5), np.float32))
    with pytest.raises(UserError, match=r"has the shape \(5, 5\), its case"):
        import_oof("other", folder, "nnU-Net", like=spec)


@pytest.mark.parametrize("shape", [(4, 5, 6), (4, 5, 4)])
def test_volumes_of_nnu_net_are_turned_round_whatever_their_shape(tmp_path, shape):
    values = np.random.default_rng(0).random((2, *shape)).astype(np.float32)
    rounded = np.rint(255 * values).astype(np.uint8)
    background = 1 - values.max(0, keepdims=True)
    stored = np.concatenate([background, values]).transpose(0, 3, 2, 1)
    np.savez(tmp_path / "a.npz", probabilities=stored)
    np.testing.assert_array_equal(read_foreign_map(tmp_path / "a.npz", shape, 2), rounded)
    np.savez(tmp_path / "b.npz", map=values)
    np.testing.assert_array_equal(read_foreign_map(tmp_path / "b.npz", shape, 2), rounded)
    if shape[0] != shape[2]:
        np.savez(tmp_path / "c.npz", map=stored)
        with pytest.raises(UserError, match="holds a map with z first: turn its axes round, or call the array of an"):
            read_foreign_map(tmp_path / "c.npz", shape, 2)
        np.savez(tmp_path / "d.npz", probabilities=values)
        with pytest.raises(UserError, match="holds a map with x first: turn its axes round"):
            read_foreign_map(tmp_path / "d.npz", shape, 2)


def test_exported_maps_come_back_however_small_their_numbers(tmp_path):
    values = np.array([[[0, 1], [1, 0]]], np.uint8)
    export_map(values, tmp_path / "a.npz")
    np.testing.assert_array_equal(read_foreign_map(tmp_path / "a.npz", (2, 2), 1), values)
    np.savez(tmp_path / "b.npz", map=values)  # of others, 0 and 1 are a mask
    np.testing.assert_array_equal(read_foreign_map(tmp_path / "b.npz", (2, 2), 1), 255 * values)
    np.savez(tmp_path / "c.npz", map=values.astype(np.uint16) * 256)
    with pytest.raises(UserError, match=r"c\.npz holds the number 256: write probabilities, or 0 \.\.\. 255 as uint8"):
        read_foreign_map(tmp_path / "c.npz", (2, 2), 1)


@pytest.mark.parametrize(
    ("name", "content"), [("a.npz", b"PK\x03\x04broken"), ("a.npy", b""), ("a.nii", b"no header"), ("a.png", b"none")]
)
def test_a_damaged_map_is_one_sentence(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=rf"{name} (cannot be read \(.*\): write it again|is not a PNG, JPEG)"):
        read_foreign_map(tmp_path / name, (2, 2), 1)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("packed", [False, True])
def test_maps_of_nifti_are_read_by_content_and_hold_classes_on_their_fourth_axis(tmp_path, name, packed):
    values = np.random.default_rng(0).random((2, 4, 5, 6)).astype(np.float32)
    data = nibabel.Nifti1Image(np.moveaxis(values, 0, -1), np.eye(4)).to_bytes()
    (tmp_path / name).write_bytes(gzip.compress(data) if packed else data)
    np.testing.assert_array_equal(read_foreign_map(tmp_path / name, (4, 5, 6), 2), np.rint(255 * values))


def test_a_device_is_no_table_of_predictions():
    dataset = SimpleNamespace(cases=pd.DataFrame({"case_id": ["a"]}), source=SimpleNamespace(own_ids=dict))
    with pytest.raises(UserError, match=r"/dev/zero is not a regular file: name a CSV or npz file"):
        read_foreign(Path("/dev/zero"), dataset)
