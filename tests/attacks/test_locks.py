"""Item 4: ways around the locked test part, the folds and the scores; each is noticed."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from heldout import files
from heldout.blend import chain, ledger
from heldout.blend.decision import load_decision
from heldout.blend.freeze import freeze
from heldout.blend.members import load_member
from heldout.blend.search import blend
from heldout.config import load
from heldout.data.cases import index_dataset, open_dataset
from heldout.data.dataset import Dataset
from heldout.data.signature import any_alike, sketch
from heldout.data.split import check_split
from heldout.errors import UserError
from heldout.evaluate.collect import collect, find_row
from heldout.tasks.base import load_task
from heldout.train import origins
from heldout.train import runs as run_folders
from heldout.train.origins import find_encoder_weights


def find_board(name: str):
    """A row of the leaderboard."""
    return next(row for row in collect() if row.name == name)


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


@pytest.mark.parametrize("change", ["pixel", "noise"])
def test_the_same_cases_changed_a_little_under_another_name_are_counted(runs, monkeypatch, change):
    ledger.test(load_decision("exp911"))
    read = Dataset.read_image

    def changed(self, case_id, **options):
        image = read(self, case_id, **options)
        array = image.array.copy()
        if change == "pixel":
            array[0, 3, 4] = array.max() - array[0, 3, 4]
        else:
            array = array + (np.random.default_rng(0).random(array.shape) < 0.5).astype(array.dtype)
        return replace(image, array=array)

    monkeypatch.setattr(Dataset, "read_image", changed)
    kept = ledger.record_evaluation
    monkeypatch.setattr(ledger, "record_evaluation", lambda d, n, h, _, *rest: kept(d, n, h, ["0"], *rest))
    found = ledger.test(replace(load_decision("exp912"), dataset="renamed"))
    assert (found.decision_evals, found.dataset_evals) == (1, 2)


def test_sketches_tell_images_apart(home):
    options = "source_options={'patients':30,'images_per_patient':1}"
    dataset = index_dataset(load_task(f"exp001+near_duplicates=False,{options}"), progress=False)
    images = [dataset.read_image(case_id) for case_id in dataset.part("train")["case_id"]]
    sketches = [sketch(image) for image in images]
    assert len(set(sketches)) == len(images)
    assert not any(any_alike([one], sketches[:place]) for place, one in enumerate(sketches))
    assert sketch(replace(images[0], array=np.zeros_like(images[0].array))) == ""


def test_overlaps_count_and_entries_without_content_count_by_name():
    def entry(number, dataset, content):
        return chain.Evaluation(
            number=number, time="", name="", decision="", sealed=False, dataset=dataset, data_hash="", metric="",
            predictions_sha256="", reason=None, decision_evals=1, dataset_evals=1, content=content,
        )  # fmt: skip

    old, whole, part, other = entry(1, "a", None), entry(2, "a", ("1", "2")), entry(3, "b", ("2",)), entry(4, "c", ())
    earlier = [old, whole, part, other]
    assert chain.evaluations_on(earlier, "a") == [old, whole, part]
    assert chain.evaluations_on(earlier, "b") == [whole, part]
    assert chain.evaluations_on(earlier, "d", ["1"]) == [whole]
    assert chain.evaluations_on(earlier, "d", ["9"]) == []
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
    monkeypatch.setattr("heldout.data.split.make_folds", lambda train, *_, **__: train.set_index("case_id")["y_small"])
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


def _one_value_changed(tensor):
    changed = tensor.clone()
    changed.flatten()[:1] += 0.001
    return changed


@pytest.mark.parametrize("began", [None, "0" * 64])
@pytest.mark.parametrize(
    ("change", "form"),
    [
        (lambda tensor: tensor.half(), dict),
        (lambda tensor: tensor * (1 + 1e-6), dict),
        (_one_value_changed, dict),
        (lambda tensor: tensor, lambda tensors: [("weights", (list(tensors.values()),))]),
    ],
    ids=["half", "scaled", "one value each", "lists"],
)
def test_weights_of_a_run_are_known_when_rounded_or_nested(runs, monkeypatch, began, change, form):
    _begin_from(monkeypatch, began)
    tensors = load_file(load_member("exp911").fits[0].folder / "weights.safetensors")
    place = _downloaded(runs)
    torch.save(form({key: change(value) for key, value in tensors.items()}), place)
    with pytest.raises(UserError, match=r"holds the weights of .*exp911/seed0/fold0, .*warm_start"):
        find_encoder_weights(load_task("exp912", overrides=[f"encoder_weights={place.name}"]))


def test_networks_tuned_from_the_same_pretrained_weights_pass(runs, monkeypatch):
    """Further training moves every tensor a little; a frozen one stays."""
    _begin_from(monkeypatch, "0" * 64)
    tensors = load_file(load_member("exp911").fits[0].folder / "weights.safetensors")
    frozen = max(tensors, key=lambda key: tensors[key].numel())
    spread = {key: value.float().std(correction=0) * 0.02 for key, value in tensors.items()}
    place = _downloaded(runs)
    tuned = {
        key: value if key == frozen else value + spread[key] * torch.randn(value.shape)
        for key, value in tensors.items()
    }
    torch.save(tuned, place)
    config = load_task("exp912", overrides=[f"encoder_weights={place.name}"])
    assert find_encoder_weights(config) == files.sha256_file(place)


def _begin_from(monkeypatch, digest):
    """Have every fit say that it began from a file of pretrained weights, or None."""
    read = origins.read_config

    def told(folder):
        config = read(folder)
        return config.model_copy(update={"made_from": config.made_from.model_copy(update={"encoder_weights": digest})})

    monkeypatch.setattr(origins, "read_config", told)


def _downloaded(runs):
    place = runs / "input" / "weights" / "downloaded.pth"
    place.parent.mkdir(parents=True, exist_ok=True)
    return place


@pytest.mark.parametrize("way", ["hard link", "link", "saved again", "as .pth", "another prefix", "one tensor added"])
def test_weights_of_a_run_are_known_in_whatever_file_they_lie(runs, way):
    """The content of the tensors decides, not the file around them."""
    weights = load_member("exp911").fits[0].folder / "weights.safetensors"
    place = runs / "input" / "weights" / ("downloaded.pth" if way == "as .pth" else "downloaded.safetensors")
    place.parent.mkdir(parents=True, exist_ok=True)
    tensors = load_file(weights)
    if way == "hard link":
        place.hardlink_to(weights)
    elif way == "link":
        place.symlink_to(weights)
    elif way == "as .pth":
        torch.save({"state_dict": tensors}, place)
    else:
        prefix = "model." if way == "another prefix" else ""
        further = {"more": torch.zeros(3)} if way == "one tensor added" else {}
        save_file({prefix + key: value for key, value in tensors.items()} | further, place, {"by": "somebody"})
    config = load_task("exp912", overrides=[f"encoder_weights={place.name}"])
    with pytest.raises(UserError, match=r"(holds the weights of .*exp911/seed0/fold0|are of a run), .*warm_start"):
        find_encoder_weights(config)


def test_other_weights_of_the_same_network_pass(runs):
    tensors = load_file(load_member("exp911").fits[0].folder / "weights.safetensors")
    place = runs / "input" / "weights" / "downloaded.safetensors"
    place.parent.mkdir(parents=True, exist_ok=True)
    save_file({key: torch.randn_like(value) for key, value in tensors.items()}, place)
    config = load_task("exp912", overrides=["encoder_weights=downloaded.safetensors"])
    assert find_encoder_weights(config) == files.sha256_file(place)


def test_other_folds_of_the_same_cases_are_counted(runs):
    """Another fold_seed deals another test part; what the two share counts."""
    ledger.test(load_decision("exp911"))
    dataset = load_member("exp911").dataset
    seen = [digest[: ledger.DIGITS] for digest in dataset.part("test")["content_hash"]]
    entries = [one.evaluation for one in ledger.read_ledger()]
    assert chain.evaluations_on(entries, "elsewhere", seen[:1]) == entries


def test_a_score_of_a_run_edited_by_hand_is_not_shown(runs):
    before = find_row("exp911").score
    for path in run_folders.run_folder("exp911").glob("seed*/fold*/run.json"):
        record = json.loads(path.read_text())
        files.write_json(path, {**record, "score": 0.999})
    assert find_row("exp911").score == before


def test_a_kept_score_edited_by_hand_is_computed_again(runs):
    before = find_row("exp911").score
    (path,) = (files.home() / "working" / "cache").glob("scores.json")
    stored = json.loads(path.read_text())
    for kept in stored["values"].values():
        kept["value"]["score"] = 0.999
    files.write_json(path, stored)
    assert find_row("exp911").score == before


@pytest.mark.parametrize("name", ["in_sample", "cross_fitted", "low", "high", "optimism"])
def test_any_number_of_a_decision_edited_by_hand_is_refused(runs, name):
    decision = blend(["exp911", "exp912"], "duo", trials=2, progress=False)
    path = decision.folder / "decision.json"
    stored = json.loads(path.read_text())
    stored["score"][name] = 0.999
    files.write_json(path, stored)
    row = find_board("duo")
    assert "was edited after it was written" in row.note
    assert row.score is None


def test_tables_edited_by_hand_are_noticed(runs):
    decision = blend(["exp911", "exp912"], "duo", trials=2, progress=False)
    path = decision.folder / "oof.parquet"
    table = pd.read_parquet(path)
    table["tp_small"], table["fp_small"], table["fn_small"] = 10, 0, 0
    table.to_parquet(path, index=False)
    row = find_board("duo")
    assert "oof.parquet" in row.note
    assert not row.complete
