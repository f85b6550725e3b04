"""A frozen decision is what was validated: any changed part is named and refused, and what is shipped is the blend."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file, save_file

from heldout import files
from heldout.blend.apply import OpenDecision
from heldout.blend.decision import load_decision
from heldout.blend.freeze import freeze
from heldout.blend.members import load_member
from heldout.blend.search import blend
from heldout.blend.session import Session
from heldout.blend.values import blend_maps
from heldout.blend.verify import check_parts, open_decision, verify
from heldout.data import cases
from heldout.errors import UserError
from heldout.metrics import interval, score
from heldout.predict.prediction import mean_predictions, to_mask
from heldout.train.runs import fit_folder

TUNED = ["exp911", "exp912"]


def make(name="duo", specs=TUNED, trials=12, **options):
    return blend(specs, name, trials=trials, progress=False, **options)


def weights_file(spec="exp911", seed=0, fold=0):
    return fit_folder(spec, seed, fold) / "weights.safetensors"


def test_a_blend_reports_what_it_is_worth_and_can_be_checked_from_its_tables(runs):
    decision = make()
    folder = runs / "working" / "blends" / "duo"
    honest = pd.read_parquet(folder / "oof.parquet")
    found = interval("dice_all", honest, decision.classes)
    assert decision.score.cross_fitted == pytest.approx(found.value)
    assert (decision.score.low, decision.score.high) == pytest.approx((found.low, found.high))
    in_sample = score("dice_all", pd.read_parquet(folder / "in_sample.parquet"), decision.classes)
    assert decision.score.in_sample == pytest.approx(in_sample)
    assert decision.score.optimism == pytest.approx(in_sample - found.value)
    assert sum(member.weight for member in decision.members) == pytest.approx(1)
    assert sorted(honest["case_id"]) == sorted(load_member("exp911").table["case_id"])
    assert set(decision.thresholds) == {"small", "large"}


def test_the_same_seed_makes_the_same_decision(runs):
    first, second = make(seed=3), make("again", seed=3)
    assert (first.members, first.thresholds, first.score) == (second.members, second.thresholds, second.score)
    assert first.search == second.search


def test_one_finished_fold_is_not_cross_fitted(runs):
    import shutil

    for spec, seeds in (("exp911", 2), ("exp912", 1)):
        for seed in range(seeds):
            shutil.rmtree(fit_folder(spec, seed, 1))
    decision = make()
    assert decision.score.cross_fitted is None
    assert decision.score.in_sample is not None
    assert not (decision.folder / "oof.parquet").exists()


def test_freezing_seals_and_verifies(runs):
    assert make(sampler="equal").seal is None
    with pytest.raises(UserError, match=r"blend duo is not frozen: run `python run.py freeze duo`"):
        verify(load_decision("duo"))
    path = freeze("duo")
    decision = load_decision("duo")
    verify(decision)
    assert decision.seal == json.loads(path.read_text())["seal"]
    assert {one.member for one in decision.reference.cases} == set(TUNED)
    before = path.read_bytes()
    assert freeze("duo").read_bytes() == before
    with pytest.raises(UserError, match="blend duo is frozen and stays as it is: choose another --name"):
        make(trials=4)
    assert path.read_bytes() == before


EDITS = {
    "weight": lambda d: d["members"][0].update(weight=0.123),
    "threshold": lambda d: d["thresholds"].update(small=1),
    "score": lambda d: d["score"].update(cross_fitted=0.999),
    "date": lambda d: d.update(sealed_at="2001-01-01T00:00:00Z"),
    "hash": lambda d: d["members"][0]["folders"][0].update(weights_sha256="0" * 64),
}


def test_a_decision_edited_before_it_is_frozen_is_refused(runs):
    make("draft")
    path = runs / "working" / "blends" / "draft" / "decision.json"
    stored = json.loads(path.read_text())
    stored["score"]["cross_fitted"] = 0.99
    path.write_text(json.dumps(stored))
    with pytest.raises(UserError, match=r"draft/decision.json was edited after it was written: restore it"):
        freeze("draft")


@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_decision_is_refused(runs, edit):
    make(trials=4)
    path = freeze("duo")
    value = json.loads(path.read_text())
    EDITS[edit](value)
    path.write_text(json.dumps(value))
    with pytest.raises(UserError, match=r"blends/duo/decision.json was edited after it was sealed: restore it"):
        load_decision("duo")


def test_all_changes_are_listed_in_one_message(runs):
    make(sampler="equal")
    freeze("duo")
    decision = load_decision("duo")
    path = weights_file()
    save_file({key: value + 1 for key, value in load_file(path).items()}, path)
    (fit_folder("exp912", 0, 1) / "oof.parquet").unlink()
    pd.read_parquet(decision.folder / "oof.parquet").iloc[1:].to_parquet(decision.folder / "oof.parquet")
    with pytest.raises(UserError) as error:
        verify(decision)
    for part in (
        "duo is not what was validated",
        "exp911/seed0/fold0/weights.safetensors changed",
        "exp912/seed0/fold1/oof.parquet is missing",
        "blends/duo/oof.parquet changed",
        "Restore these",
    ):
        assert part in str(error.value)


def test_a_changed_map_is_found_when_freezing(runs):
    make(trials=4)
    path = next((fit_folder("exp912", 0, 1) / "oof_maps").glob("*.b2nd"))
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(UserError, match=rf"{path.name} changed"):
        freeze("duo")
    assert load_decision("duo").seal is None


def test_a_patient_moved_across_folds_is_refused(runs):
    make(trials=4)
    freeze("duo")
    decision = load_decision("duo")
    for path in (runs / "working" / "data").glob("*/folds.csv"):
        lines = path.read_text().splitlines()
        lines[1] = lines[1][:-1] + ("1" if lines[1][-1] == "0" else "0")
        path.write_text("\n".join(lines) + "\n")
    with pytest.raises(UserError, match=r"patient p\w+ is in the folds .*folds.csv"):
        verify(decision)


def test_code_that_predicts_otherwise_is_found_by_the_kept_cases(runs, monkeypatch):
    make(trials=4)
    freeze("duo")
    import heldout.blend.apply as apply

    prepare = apply.prepare_image
    monkeypatch.setattr(apply, "prepare_image", lambda *given: (lambda a, g: (a // 2, g))(*prepare(*given)))
    with pytest.raises(UserError, match=r"predicts case \w+ of .*seed0/fold0 otherwise than validated \(map off"):
        verify(load_decision("duo"))


@pytest.mark.parametrize("name", ["duo", "exp911"])
def test_another_cut_of_masks_is_found(runs, monkeypatch, name):
    import heldout.blend.apply as apply

    if name == "duo":
        make(trials=4)
        freeze(name)
    cut = apply.spatial_mask
    monkeypatch.setattr(apply, "spatial_mask", lambda map_, levels, *rest: cut(map_, (1,) * len(levels), *rest))
    with pytest.raises(UserError, match=r"(the code makes another mask of|mask or submission line of) case \w+"):
        open_decision(name)


def test_another_line_of_the_submission_is_found(runs, monkeypatch):
    import heldout.blend.apply as apply

    make(trials=4)
    freeze("duo")
    open_decision("duo")
    monkeypatch.setattr(apply, "round", lambda value, _: round(1 - value, 6), raising=False)
    with pytest.raises(UserError, match=r"mask or submission line of case \w+ differ from those"):
        open_decision("duo")


def test_changed_code_is_found_when_freezing(runs, monkeypatch):
    make(trials=4)
    import heldout.blend.apply as apply

    prepare = apply.prepare_image
    monkeypatch.setattr(apply, "prepare_image", lambda *given: (lambda a, g: (a // 2, g))(*prepare(*given)))
    with pytest.raises(UserError, match=r"is not reproduced as it was after training .*train exp911 again"):
        freeze("duo")


def test_an_experiment_stands_for_the_plain_mean_of_its_fits(runs):
    decision = load_decision("exp911")
    assert decision.seal is None
    verify(decision)
    assert decision.thresholds == {"small": 128, "large": 128}
    assert [(fit.seed, fit.fold) for fit in decision.members[0].folders] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    weights_file().write_bytes(weights_file().read_bytes() + b"x")
    assert any("weights.safetensors changed" in change for change in check_parts(decision, Session()))
    with pytest.raises(UserError, match="exp911 is not what was validated"):
        verify(decision)


def predict_by_hand(member, case_id, tta):
    from heldout.data.prepare import prepare_image
    from heldout.predict.models import load_model
    from heldout.predict.run import predict_cases

    dataset, predictions = member.dataset, []
    for fit in member.fits:
        model = load_model(member.config, fit.folder / "weights.safetensors", dataset.classes, dataset.exclusive)
        array, geometry = prepare_image(dataset.read_image(case_id), member.config)
        cases = [(case_id, array, geometry)]
        predictions += next(predict_cases(member.config, [model], cases, exclusive=dataset.exclusive, tta=tta))
    return mean_predictions(predictions)


def test_what_is_applied_is_the_blend_of_the_members_means(runs):
    decision = make(trials=4)
    shares = (0.4, 0.6)  # whatever was tuned: both members must matter
    described = [member.with_weight(w) for member, w in zip(decision.members, shares, strict=True)]
    decision = replace(decision, members=described)
    members = [load_member(spec) for spec in TUNED]
    chosen = list(members[0].dataset.part("test")["case_id"][:3])
    images = ((case_id, members[0].dataset.read_image(case_id)) for case_id in chosen)
    results = list(OpenDecision(decision).predict(images))
    assert [result.case_id for result in results] == chosen
    for result in results:
        by_hand = [predict_by_hand(m, result.case_id, m.config.tta).map for m in members]
        expected = blend_maps(by_hand, decision.weights)
        np.testing.assert_array_equal(result.map, expected)
        np.testing.assert_array_equal(result.mask, to_mask(expected, list(decision.thresholds.values()), False))


def test_no_more_than_the_next_image_is_read_ahead(runs):
    decision = load_decision("exp914")
    dataset = load_member("exp914").dataset
    taken = []

    def images():
        for case_id in dataset.part("test")["case_id"]:
            taken.append(case_id)
            yield case_id, dataset.read_image(case_id)

    stream = OpenDecision(decision).predict(images())
    result = next(stream)
    assert taken[0] == result.case_id
    assert len(taken) <= 2
    assert result.mask is None
    assert result.scores.shape == (2,)


@pytest.mark.parametrize(("specs", "metric"), [(["exp913"], "dice_all"), (["exp914"], "f1"), (["exp914"], "roc_auc")])
def test_every_kind_can_be_blended_and_frozen(runs, specs, metric):
    decision = make("other", specs, trials=4, metric=metric)
    freeze("other")
    verify(load_decision("other"))
    assert decision.thresholds == {} if specs == ["exp913"] else set(decision.thresholds) == {"small", "large"}


@pytest.mark.parametrize("name", ["exp042", "a/b", "", "../x", ".hidden"])
def test_names_that_cannot_name_a_blend_are_refused(runs, name):
    with pytest.raises(UserError, match="cannot name a blend: use letters"):
        make(name)


def test_unknown_names_are_refused(runs):
    make(trials=4)
    with pytest.raises(UserError, match="no blend 'trio': the blends are duo; or name an experiment"):
        load_decision("trio")
    with pytest.raises(UserError, match="no blend 'trio': make it with"):
        freeze("trio")
    with pytest.raises(UserError, match=r"dice_all.* needs masks, and these networks classify"):
        make("labels", ["exp914"], metric="dice_all")


def test_a_copied_decision_is_refused(runs):
    import shutil

    make(trials=4)
    shutil.copytree(runs / "working/blends/duo", runs / "working/blends/copy")
    with pytest.raises(UserError, match="belongs to the blend 'duo': a blend cannot be renamed"):
        load_decision("copy")


def test_seeds_and_flips_are_sealed_as_they_were_chosen(runs):
    decision = make("chosen", ["exp911/seed1", "exp911/seed0/tta=h"], sampler="equal")
    described = [(m.name, m.spec, m.seeds, m.tta) for m in decision.members]
    assert described == [("exp911/seed1", "exp911", (1,), ""), ("exp911/seed0/tta=h", "exp911", (0,), "h")]
    freeze("chosen")
    verify(load_decision("chosen"))
    shares = [member.with_weight(weight) for member, weight in zip(decision.members, (0.3, 0.7), strict=True)]
    member = load_member("exp911")
    case_id = member.dataset.part("test")["case_id"].iloc[0]
    (result,) = OpenDecision(replace(decision, members=shares)).predict([(case_id, member.dataset.read_image(case_id))])
    parts = [load_member(chosen.name) for chosen in decision.members]
    by_hand = [predict_by_hand(part, case_id, part.tta).map for part in parts]
    np.testing.assert_array_equal(result.map, blend_maps(by_hand, (300, 700)))
    path = next((fit_folder("exp911", 0, 1) / "tta-h" / "oof_maps").glob("*.b2nd"))
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(UserError, match=rf"tta-h/oof_maps/{path.name} changed"):
        verify(load_decision("chosen"), maps=True)


def test_missing_seeds_are_noted_in_the_decision(runs):
    import shutil

    shutil.rmtree(fit_folder("exp911", 1, 0))
    assert make().notes == ["exp911: seed 1 is missing in fold 0"]
    assert load_decision("exp911").notes == ["exp911: seed 1 is missing in fold 0"]


def test_one_seed_of_an_experiment_can_stand_alone(runs):
    decision = load_decision("exp911/seed1")
    assert (decision.name, [fit.seed for fit in decision.members[0].folders]) == ("exp911/seed1", [1, 1])
    verify(decision)


def test_members_that_lack_different_seeds_are_sealed_on_cases_they_share(runs):
    shutil.rmtree(runs / "working" / "runs" / "exp911" / "seed0" / "fold0")
    decision = blend(["exp911", "exp912"], "uneven", trials=6, progress=False)
    assert decision.notes == ["exp911: seed 0 is missing in fold 0"]
    freeze("uneven")
    sealed = load_decision("uneven")
    assert {one.fold for one in sealed.reference.cases} == {0}
    verify(sealed)


def test_weights_that_changed_are_not_blended(runs):
    path = runs / "working" / "runs" / "exp911" / "seed0" / "fold0" / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(UserError, match=r"weights\.safetensors was changed after training: restore it"):
        blend(["exp911", "exp912"], "changed", trials=6, progress=False)


def test_a_decision_opens_its_dataset_and_hashes_its_weights_once(runs, monkeypatch):
    blend(["exp911", "exp912"], "once", trials=2, progress=False)
    freeze("once")
    opened, hashed = [], []
    load, sha256_file = cases.load, files.sha256_file
    monkeypatch.setattr(cases, "load", lambda folder, source: opened.append(folder) or load(folder, source))
    monkeypatch.setattr(files, "sha256_file", lambda path: hashed.append(path) or sha256_file(path))
    found = open_decision("once")
    assert found.dataset.data_hash == found.decision.data_hash
    assert len(opened) == 1
    weights = [path for path in hashed if path.name == "weights.safetensors"]
    assert len(weights) == len(set(weights)) == sum(len(one.folders) for one in found.decision.members)


DAMAGES = {
    "another schema": lambda text: text.replace('"schema": 2', '"schema": 9'),
    "a missing field": lambda text: text.replace('"tta":', '"flips":'),
    "another type": lambda text: text.replace('"seeds": [', '"seeds": ["0", '),
    "a text for the members": lambda text: json.dumps({**json.loads(text), "members": "exp911"}),
    "cut off": lambda text: text[:200],
    "deeply nested": lambda text: text.replace('"notes": ', '"notes": ' + "[" * 100_000),
    "a list": lambda text: f"[{text}]",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_decision_is_refused_in_one_sentence(runs, damage):
    make("draft")
    path = runs / "working" / "blends" / "draft" / "decision.json"
    path.write_text(DAMAGES[damage](path.read_text()))
    with pytest.raises(
        UserError, match=r"draft/decision.json .*: (restore it, or blend again under a new name|update heldout)$"
    ):
        load_decision("draft")


def test_a_decision_is_written_as_it_was_read(runs):
    make("draft")
    path = runs / "working" / "blends" / "draft" / "decision.json"
    stored = json.loads(path.read_text())
    assert json.dumps(load_decision("draft").to_json()) == json.dumps(stored)
    stored["score"]["low"] = 1
    stored["members"][0]["weight"] = 1
    path.write_text(json.dumps({**stored, "digest": None}))
    with pytest.raises(UserError, match="was edited after it was written"):
        load_decision("draft")
    later = {"digest", "kept", "sealed_at", "seal"}
    digest = files.sha256_json({key: value for key, value in stored.items() if key not in later})
    path.write_text(json.dumps({**stored, "digest": digest}))
    assert load_decision("draft").compute_digest() == digest  # 1 stays 1, and is not 1.0
