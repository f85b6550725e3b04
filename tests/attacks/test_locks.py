"""Ways around the locked test part, and what notices each of them."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import pandas as pd
import pytest

from heldout import files
from heldout.blend import chain, ledger
from heldout.blend.decision import load_decision
from heldout.blend.freeze import freeze
from heldout.blend.members import load_member
from heldout.blend.search import blend
from heldout.blend.verify import verify
from heldout.cli import run
from heldout.config import load
from heldout.data.cases import open_dataset
from heldout.data.split import check_split
from heldout.errors import UserError
from heldout.evaluate.collect import find_row
from heldout.tasks.base import load_task
from heldout.train import runs as run_folders
from heldout.train.origins import find_encoder_weights


def forge(folder: Path, **tables: pd.DataFrame) -> None:
    """Write tables of a checked dataset and make their hashes anew."""
    index = json.loads((folder / "index.json").read_text())
    for name, table in tables.items():
        path = folder / f"{name}.{'csv' if name == 'folds' else 'parquet'}"
        if name == "folds":
            table.to_csv(path, index=False)
        else:
            table.to_parquet(path, index=False)
        index["files"][path.name] = files.sha256_file(path)
    index["fold_hash"] = index["files"]["folds.csv"]
    (folder / "index.json").write_text(json.dumps(index))


def test_weights_copied_out_of_a_run_are_known_by_their_content(runs):
    weights = load_member("exp911").fits[0].folder / "weights.safetensors"
    copied = runs / "input" / "weights" / "downloaded.safetensors"
    copied.parent.mkdir(parents=True)
    shutil.copyfile(weights, copied)
    config = load_task("exp912", overrides=["encoder_weights=downloaded.safetensors"])
    with pytest.raises(UserError, match=r"holds the weights of .*exp911/seed0/fold0, .*: name exp911 as warm_start"):
        find_encoder_weights(config)
    copied.write_bytes(weights.read_bytes()[:-1])
    assert find_encoder_weights(config) == files.sha256_file(copied)


def test_the_same_cases_under_another_name_are_counted(runs):
    ledger.test(load_decision("exp911"))
    renamed = replace(load_decision("exp912"), dataset="renamed")
    found = ledger.test(renamed)
    assert (found.decision_evals, found.dataset_evals) == (1, 2)
    assert find_row("exp911").dataset_test_evals == 2


def test_overlaps_count_and_entries_without_content_count_by_name():
    def entry(number, dataset, content):
        return chain.Evaluation(
            number=number, time="", name="", decision="", sealed=False, dataset=dataset, data_hash="", metric="",
            predictions_sha256="", reason=None, decision_evals=1, dataset_evals=1, content=content,
        )  # fmt: skip

    old, whole, part, other = entry(1, "a", None), entry(2, "a", ("1", "2")), entry(3, "b", ("2",)), entry(4, "c", ())
    earlier = [old, whole, part, other]
    assert ledger.evaluations_on(earlier, "a") == [old, whole, part]
    assert ledger.evaluations_on(earlier, "b") == [whole, part]
    assert ledger.evaluations_on(earlier, "d", ["1"]) == [whole]
    assert ledger.evaluations_on(earlier, "d", ["9"]) == []
    assert "content" not in old.to_json()


def test_a_test_mask_edited_with_size_and_time_kept_is_noticed(runs):
    dataset = load_member("exp911").dataset
    row = pd.read_parquet(dataset.folder / "sealed.parquet").iloc[0]
    path = dataset.source.paths(row["mask"])[0]
    mask = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    mask[:4, :4] = 1 - (mask[:4, :4] > 0)
    cv2.imwrite(str(path), mask)
    listed = pd.read_csv(dataset.folder / "raw_files.csv")
    state = path.stat()
    chosen = listed["path"] == str(path.relative_to(dataset.source.root))
    listed.loc[chosen, ["size", "mtime_ns"]] = state.st_size, state.st_mtime_ns
    listed.to_csv(dataset.folder / "raw_files.csv", index=False)
    load_member("exp911")  # as to size and time nothing changed
    with pytest.raises(UserError, match=rf"test case {row['case_id']}\) changed after it was indexed"):
        ledger.test(load_decision("exp911"))
    assert not chain.ledger_path().exists()


def test_a_forged_split_with_hashes_made_anew_is_refused(runs):
    config = load("exp911")
    dataset = open_dataset(config)
    check_split(dataset, config)
    cases, folder = pd.read_parquet(dataset.folder / "cases.parquet"), dataset.folder
    train = cases[cases["split"] == "train"]
    one, other = (train.loc[train["fold"] == fold, "patient_id"].iloc[0] for fold in (0, 1))
    moved = {one: 1, other: 0}
    forged = cases.assign(fold=cases["patient_id"].map(moved).fillna(cases["fold"]).astype(int))
    folds = forged.loc[forged["fold"] >= 0, ["case_id", "patient_id", "fold"]]
    forge(folder, cases=forged, folds=folds)
    with pytest.raises(UserError, match=r"does not hold the parts and folds that its cases are dealt .* \(4 in all\)"):
        check_split(open_dataset(config), config)


def test_a_patient_divided_into_two_groups_is_refused(runs):
    config = load("exp911")
    dataset = open_dataset(config)
    cases = pd.read_parquet(dataset.folder / "cases.parquet")
    first = cases.index[cases["split"] == "train"][0]
    cases.loc[first, "group_id"] = "alone"
    forge(dataset.folder, cases=cases, folds=pd.read_csv(dataset.folder / "folds.csv"))
    with pytest.raises(UserError, match=r"into two groups, which are of one patient or show the same"):
        check_split(open_dataset(config), config)


def test_freezing_derives_the_split_again(runs, monkeypatch):
    blend(["exp911", "exp912"], "duo", trials=2, progress=False)
    monkeypatch.setattr("heldout.data.cases.make_folds", lambda train, *_, **__: train.set_index("case_id")["y_small"])
    with pytest.raises(UserError, match="does not hold the parts and folds"):
        freeze("duo")


def test_a_score_edited_by_hand_is_not_verified_on_the_leaderboard(runs):
    decision = blend(["exp911", "exp912"], "duo", trials=2, progress=False)
    assert "not verified" not in find_row("duo").note
    forged = replace(decision, score=decision.score.model_copy(update={"cross_fitted": 0.999}), digest=None)
    path = decision.folder / "decision.json"
    files.write_json(path, replace(forged, digest=forged.compute_digest()).to_json())
    row = find_row("duo")
    assert row.note.startswith("not verified: decision.json says 0.9990, its cross-fitted predictions score 0.")
    assert not row.complete


def edit_trained_code(spec: str, name: str, old: str, new: str) -> None:
    """Record that a run was trained with other code than there is today."""
    for path in run_folders.run_folder(spec).glob("seed*/fold*/config.json"):
        record = json.loads(path.read_text())
        assert old in record["code"][name]
        record["code"][name] = record["code"][name].replace(old, new)
        path.write_text(json.dumps(record))


def test_code_beside_the_class_that_changed_since_training_is_refused_and_can_be_accepted(runs, capsys):
    blend(["exp911", "exp912"], "sealed", trials=2, progress=False)
    freeze("sealed")
    blend(["exp911", "exp912"], "draft", trials=2, progress=False)
    edit_trained_code("exp911", "exps.exp911:Small", "padding=2", "padding=1, padding_mode='reflect'")
    refused = r"(?s)exps.exp911:Small changed since .*exp911/seed0/fold0 was trained: undo that.*\n\+.*padding=2"
    for act in (
        lambda: blend(["exp911", "exp912"], "other", trials=2, progress=False),
        lambda: freeze("draft"),
        lambda: ledger.test(load_decision("exp911")),
    ):
        with pytest.raises(UserError, match=refused):
            act()
    verify(load_decision("sealed"))  # its reference predictions are reproduced
    assert run(["accept", "exp911", "--reason", " "]) == 2
    assert run(["accept", "exp911", "--reason", "the same convolution"]) == 0
    assert "accepted: exps.exp911:Small" in capsys.readouterr().out
    freeze("draft")
    assert run(["accept", "exp912", "--reason", "nothing"]) == 2
    assert "nothing to accept" in capsys.readouterr().err


def test_runs_that_record_no_code_stay_valid_and_are_said_to_lack_it(runs, capsys):
    for path in run_folders.run_folder("exp911").glob("seed*/fold*/config.json"):
        record = json.loads(path.read_text())
        del record["code"]
        path.write_text(json.dumps(record))
    verify(load_decision("exp911"))
    assert "exp911 was trained by an earlier version: the code that its hooks call is not sealed" in (
        capsys.readouterr().err
    )
