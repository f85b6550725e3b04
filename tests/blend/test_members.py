"""Members are complete, unchanged and comparable, or they are refused by name."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from heldout.blend.apply import predict_case
from heldout.blend.cases import build_objective
from heldout.blend.members import check_together, load_member, split_members
from heldout.blend.objective import BlendSettings
from heldout.blend.values import blend_maps
from heldout.errors import UserError
from heldout.metrics import count_errors
from heldout.predict.models import load_model
from heldout.predict.prediction import mean_predictions, presence, to_mask
from heldout.predict.store import read_map


def fit_folder(home, spec="exp911", seed=0, fold=0):
    return home / "working" / "runs" / spec / f"seed{seed}" / f"fold{fold}"


def test_seeds_are_averaged_and_every_case_stands_once(runs):
    member = load_member("exp911")
    assert sorted(member.table["case_id"]) == sorted(member.dataset.folds.index)
    case_id = member.table["case_id"].iloc[3]
    fold = member.dataset.folds[case_id]
    seeds = [read_map(fit_folder(runs, seed=seed, fold=fold), "oof", case_id) for seed in (0, 1)]
    expected = np.rint(np.mean(seeds, axis=0)).astype(np.uint8)
    np.testing.assert_array_equal(member.prediction(case_id).map, expected)
    counts = count_errors(to_mask(expected, None, False), member.dataset.truth(case_id), 2, False)
    row = member.table.iloc[3]
    assert [[row[f"{kind}_{c}"] for kind in ("tp", "fp", "fn")] for c in ("small", "large")] == counts.tolist()
    mean = mean_predictions([member.prediction(case_id)])
    assert row[["p_small", "p_large"]].tolist() == pytest.approx(mean.scores.tolist())


def test_one_seed_is_read_from_its_table(runs):
    member = load_member("exp912")
    stored = pd.concat([pd.read_parquet(fit_folder(runs, "exp912", fold=fold) / "oof.parquet") for fold in (0, 1)])
    stored = stored.set_index("case_id").loc[member.table["case_id"]].reset_index()
    pd.testing.assert_frame_equal(member.table, stored[member.table.columns], check_dtype=False)


@pytest.mark.parametrize("specs", [["exp911", "exp912"], ["exp913"]])
def test_the_objective_scores_exactly_the_blended_maps(runs, specs):
    members = [load_member(spec) for spec in specs]
    dataset = members[0].dataset
    objective = build_objective(members, "dice_all", progress=False)
    weights = (700, 300) if len(members) == 2 else (1000,)
    thresholds = () if dataset.exclusive else (60, 128)
    table = objective.table(BlendSettings(weights, thresholds))
    for row in table.iloc[::5].to_dict("records"):
        blended = blend_maps([member.prediction(row["case_id"]).map for member in members], weights)
        mask = to_mask(blended, thresholds or None, dataset.exclusive)
        counts = count_errors(mask, dataset.truth(row["case_id"]), 2, dataset.exclusive)
        found = [[row[f"{kind}_{c}"] for kind in ("tp", "fp", "fn")] for c in dataset.classes]
        assert found == counts.tolist()
        assert [row["p_small"], row["p_large"]] == presence(blended).tolist()


def spoil_oof(home, change):
    """Change a table and, as an honest program would, its hash."""
    from heldout.files import sha256_file

    folder = fit_folder(home)
    table = change(pd.read_parquet(folder / "oof.parquet"))
    table.to_parquet(folder / "oof.parquet")
    record = json.loads((folder / "run.json").read_text())
    record["sha256"]["oof"] = sha256_file(folder / "oof.parquet")
    (folder / "run.json").write_text(json.dumps(record))
    return table


TABLE_DEFECTS = {
    "missing": (lambda t: t.iloc[1:], "has no prediction"),
    "twice": (lambda t: pd.concat([t, t[:1]]), "occurs twice"),
    "nan": (lambda t: t.assign(p_small=np.nan), "p_small of case .* is not a finite number"),
}


@pytest.mark.parametrize("defect", TABLE_DEFECTS)
def test_incomplete_predictions_are_refused(runs, defect):
    change, message = TABLE_DEFECTS[defect]
    spoil_oof(runs, change)
    with pytest.raises(UserError, match=rf"exp911/seed0/fold0/oof.parquet.*{message}"):
        load_member("exp911")


def test_a_changed_table_is_refused(runs):
    path = fit_folder(runs) / "oof.parquet"
    table = pd.read_parquet(path)
    table.assign(p_small=0.5).to_parquet(path)
    with pytest.raises(UserError, match=r"fold0/oof.parquet was changed after training: restore it"):
        load_member("exp911")


def test_a_changed_map_is_refused(runs):
    path = next((fit_folder(runs) / "oof_maps").glob("*.b2nd"))
    shutil.copy(sorted((fit_folder(runs) / "oof_maps").glob("*.b2nd"))[-1], path)
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(UserError, match=rf"{path.name} is not the file that was written"):
        build_objective([load_member("exp911")], "dice_all", progress=False)


def test_a_patient_moved_by_hand_is_refused(runs):
    for path in (runs / "working" / "data").glob("phantom-*/folds.csv"):
        lines = path.read_text().splitlines()
        lines[1] = lines[1][:-1] + ("1" if lines[1][-1] == "0" else "0")
        path.write_text("\n".join(lines) + "\n")
    with pytest.raises(UserError, match=r"patient p\w+ is in the folds .*folds.csv"):
        load_member("exp911")


def test_a_run_on_another_fold_table_is_refused(runs):
    path = fit_folder(runs) / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "fold_hash": "0" * 64}))
    with pytest.raises(UserError, match=r"fold0 was trained with another fold table .*restore it"):
        load_member("exp911")


def test_an_untrained_experiment_is_refused(runs):
    with pytest.raises(UserError, match=r"exp911\+lr=0.5 has no finished fold: train it first"):
        load_member("exp911+lr=0.5")
    (runs / "working" / "runs" / "exp911").rename(runs / "working" / "runs" / "exp911+lr=0.5")
    with pytest.raises(UserError, match=r"exp911 has no finished fold: name exp911\+lr=0.5, or train it first"):
        load_member("exp911")


PAIRS = {
    ("exp911", "exp913"): "their classes differ",
    ("exp911", "exp911"): "exp911 is named twice",
    ("exp912", "exp912/seed0"): "exp912 is named twice",
    ("exp912/tta=h", "exp912"): "exp912 is named twice",
}


@pytest.mark.parametrize("pair", PAIRS, ids=" ".join)
def test_members_that_do_not_belong_together_are_refused(runs, pair):
    with pytest.raises(UserError, match=PAIRS[pair]):
        check_together([load_member(spec) for spec in pair])


@pytest.mark.parametrize(
    ("hash_name", "message"), [("fold_hash", "fold tables differ"), ("data_hash", "trained on different cases")]
)
def test_members_on_other_folds_or_cases_are_refused(runs, hash_name, message):
    one, other = load_member("exp911"), load_member("exp912")
    other = replace(other, dataset=replace(other.dataset, **{hash_name: "0" * 64}))
    with pytest.raises(UserError, match=f"exp911 and exp912 cannot be blended: .*{message}"):
        check_together([one, other])


def test_members_of_other_datasets_are_refused_before_their_folds_are_compared(runs):
    one, other = load_member("exp911"), load_member("exp912")
    other = replace(other, config=other.config.model_copy(update={"dataset": "elsewhere"}))
    with pytest.raises(UserError, match=r"one is of .*, the other of elsewhere; blend members of one dataset"):
        check_together([one, other])


def test_members_with_other_finished_folds_are_refused(runs):
    shutil.rmtree(fit_folder(runs, "exp912", fold=1))
    with pytest.raises(UserError, match=r"exp911 and exp912 .* folds \[0, 1\] and \[0\]; train the missing"):
        check_together([load_member("exp911"), load_member("exp912")])


def test_segmentations_and_classifications_of_one_dataset_go_together(runs):
    members = [load_member(spec) for spec in ("exp914", "exp911", "exp912")]
    check_together(members)
    weighted, labels = split_members(members)
    assert [member.name for member in weighted] == ["exp911", "exp912"]
    assert [member.name for member in labels] == ["exp914"]
    assert split_members(members[:1]) == (members[:1], [])


def test_a_seed_is_a_member(runs):
    member = load_member("exp911/seed1")
    assert (member.name, member.spec, {fit.seed for fit in member.fits}) == ("exp911/seed1", "exp911", {1})
    case_id = member.table["case_id"].iloc[3]
    fold = member.dataset.folds[case_id]
    np.testing.assert_array_equal(
        member.prediction(case_id).map, read_map(fit_folder(runs, seed=1, fold=fold), "oof", case_id)
    )
    check_together([load_member("exp911/seed0"), member])
    assert load_member("exp911/seed1/seed0").table.equals(load_member("exp911").table)


@pytest.mark.parametrize(("text", "tta", "folder"), [("exp911/tta=h", "h", "tta-h"), ("exp912/tta=", "", "tta-none")])
def test_other_flips_are_predicted_once_for_the_cases_each_fold_held_out(runs, monkeypatch, text, tta, folder):
    member = load_member(text)
    plain = load_member(member.spec)
    assert (member.name, member.tta) == (text, tta)
    check_together([plain, member])
    case_id = member.cases["case_id"].iloc[5]
    fit = next(fit for fit in member.fits if fit.fold == member.dataset.folds[case_id])
    assert fit.predictions == fit.folder / folder
    model = load_model(member.config, fit.folder / "weights.safetensors", member.dataset.classes, False)
    image = member.dataset.read_image(case_id)
    expected = predict_case(member.config, [model], case_id, image, exclusive=False, tta=tta)[0].map
    found = read_map(fit.predictions, "oof", case_id, fit.hashes.maps[case_id])
    assert np.abs(found.astype(int) - expected).max() <= 1
    assert not np.array_equal(found, plain.prediction(case_id).map)
    assert sorted(member.table["case_id"]) == sorted(plain.table["case_id"])
    record = json.loads((fit.predictions / "predictions.json").read_text())
    assert record["sha256"]["weights"] == fit.record.sha256.weights
    monkeypatch.setattr("heldout.blend.flips._predict", None)
    pd.testing.assert_frame_equal(load_member(text).table, member.table)


def test_flips_of_changed_weights_are_refused(runs):
    path = fit_folder(runs) / "weights.safetensors"
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(UserError, match=r"seed0/fold0/weights.safetensors was changed after training"):
        load_member("exp911/tta=h")


def test_a_changed_table_of_other_flips_is_refused(runs):
    load_member("exp911/tta=h")
    path = fit_folder(runs) / "tta-h" / "oof.parquet"
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(UserError, match=r"tta-h/oof.parquet was changed .* delete .*tta-h and run the command again"):
        load_member("exp911/tta=h")


def test_the_experiments_own_flips_need_no_folder(runs):
    assert load_member("exp912/tta=h").name == "exp912"
    assert not list(runs.rglob("tta-*"))


NO_MEMBERS = {
    "exp911/tta=z": r"exp911/tta=z may name each of the axes v, h once",
    "exp911/tta=hh": r"exp911/tta=hh may name each of the axes v, h once",
    "exp911/seed7": r"exp911 has no finished seed 7: it has 0, 1",
    "exp911/fold1": r"'exp911/fold1' is not a member: write exp040, exp040/seed1",
    "exp911/seed1/seed1": r"is not a member: write exp040, exp040/seed1",
}


@pytest.mark.parametrize("text", NO_MEMBERS)
def test_what_is_no_member_is_refused(runs, text):
    with pytest.raises(UserError, match=NO_MEMBERS[text]):
        load_member(text)


def test_missing_seeds_are_told(runs):
    assert load_member("exp911").notes == []
    shutil.rmtree(fit_folder(runs, seed=1, fold=1))
    assert load_member("exp911").notes == ["exp911: seed 1 is missing in fold 1"]
    assert load_member("exp911/seed0").notes == []
    with pytest.raises(UserError, match=r"folds \[0, 1\] and \[0\]"):
        check_together([load_member("exp911/seed0"), load_member("exp911/seed1")])
