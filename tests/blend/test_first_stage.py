"""Two stages: maps of networks that held a case out, the mean of all for new cases, and nothing else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from heldout import files
from heldout.blend import costs, session
from heldout.blend.apply import OpenDecision, predict_case
from heldout.blend.costs import measure
from heldout.blend.decision import load_decision
from heldout.blend.freeze import freeze
from heldout.blend.members import load_member, stored_prediction
from heldout.blend.reference import choose_cases, compare, predict_again
from heldout.blend.search import blend
from heldout.blend.verify import open_decision, verify
from heldout.config import load
from heldout.data import cases
from heldout.data.cases import open_dataset
from heldout.data.first_stage import FirstStageMap
from heldout.deliver.kernel.bundle import experiment_files
from heldout.errors import UserError
from heldout.predict import models
from heldout.predict.models import load_model
from heldout.predict.prediction import mean_predictions
from heldout.predict.store import read_map
from heldout.train import first_stage
from heldout.train.first_stage import find_first_stage, with_first_stage
from heldout.train.fit import fit_fold
from heldout.train.runs import fit_folder

STAGES = ("exp916", "exp917")


@pytest.fixture(scope="module")
def cascades(trained, tmp_path_factory) -> Path:
    """The trained home with second stages on exp911: one shown its maps, one cropped by them."""
    home, threads = tmp_path_factory.mktemp("cascades") / "home", torch.get_num_threads()
    shutil.copytree(trained, home)
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HELDOUT_HOME", str(home))
        patch.delenv("HELDOUT_DATA", raising=False)
        for spec in STAGES:
            for fold in range(2):
                fit_fold(load(spec), open_dataset(load(spec)), fold, 0, quiet=True)
    torch.set_num_threads(threads)
    return home


@pytest.fixture
def home(cascades, tmp_path, monkeypatch) -> Path:
    """A copy, free to be spoiled."""
    shutil.copytree(cascades, tmp_path / "home")
    monkeypatch.setenv("HELDOUT_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("HELDOUT_DATA", raising=False)
    return tmp_path / "home"


def first_stage_of(spec: str):
    return find_first_stage(load(spec), open_dataset(load(spec)))


def test_every_training_case_is_shown_the_map_of_the_networks_that_held_it_out(home):
    config, dataset = load("exp916"), open_dataset(load("exp916"))
    prepared = with_first_stage(dataset, config, progress=False)
    assert len(dataset.part("train")) > 20
    for case_id in dataset.part("train")["case_id"]:
        fold = int(dataset.folds[case_id])
        maps = [read_map(fit_folder("exp911", seed, fold), "oof", case_id) for seed in (0, 1)]
        expected = np.rint(np.mean(maps, axis=0, dtype=np.float32)).astype(np.uint8)
        np.testing.assert_array_equal(prepared.image(case_id)[1:], expected)


def test_a_new_case_is_shown_the_mean_of_all_first_stage_networks(home):
    config, first, dataset = load("exp916"), load("exp911"), open_dataset(load("exp916"))
    case_id = dataset.part("submit")["case_id"].iloc[0]
    image = dataset.read_image(case_id)

    def models(spec: str, seeds: tuple[int, ...]) -> list:
        folders = [fit_folder(spec, seed, fold) for seed in seeds for fold in range(2)]
        return [
            load_model(load(spec), path / "weights.safetensors", dataset.classes, dataset.exclusive) for path in folders
        ]

    found = mean_predictions(predict_case(first, models("exp911", (0, 1)), case_id, image, exclusive=False))
    first_map = FirstStageMap(found.map, "channel", 0.5)
    expected = mean_predictions(
        predict_case(config, models("exp916", (0,)), case_id, image, exclusive=False, first_map=first_map)
    )
    blended = next(OpenDecision(load_decision("exp916")).predict([(case_id, image)]))
    np.testing.assert_array_equal(blended.map, expected.map)


@pytest.mark.parametrize("spec", STAGES)
def test_held_out_predictions_come_out_again(home, spec):
    member = load_member(spec)
    for fit in member.fits:
        for case_id in choose_cases(member, fit):
            found = predict_again(member, fit, case_id)
            assert compare(stored_prediction(member, fit, case_id), found) == ""


@pytest.mark.parametrize("spec", STAGES)
def test_a_decision_carries_its_first_stage_and_refuses_it_changed(home, spec):
    decision = load_decision(spec)
    verify(decision)
    assert [(stage.spec, len(stage.folders)) for stage in decision.predictors] == [("exp911", 4), (spec, 2)]
    assert {path.name for path in experiment_files(decision)} >= {"exp911.py", f"{spec}.py"}
    path = fit_folder("exp911", 1, 0) / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match=r"exp911/seed1/fold0/weights.safetensors changed"):
        verify(decision)


def test_three_members_share_what_one_command_opens(home, monkeypatch):
    blend(["exp916", "exp916/tta=h", "exp917"], "cascades", sampler="equal", progress=False)
    freeze("cascades")
    opened, found, fits, hashed, loaded = [], [], [], [], []
    counted = (
        (cases, "load", opened),
        (session, "find_first_stage", found),
        (first_stage, "open_dependency", fits),
        (files, "sha256_file", hashed),
        (models, "load_model", loaded),
    )
    for module, name, calls in counted:
        function = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *words, _f=function, _calls=calls: _calls.append(words) or _f(*words))
    decision = open_decision("cascades")
    case_id = decision.dataset.part("test")["case_id"].iloc[0]
    assert len(list(decision.predict([(case_id, decision.dataset.read_image(case_id))]))) == 1
    assert len(opened) == 1
    assert [config.spec for config, *_ in found] == ["exp916", "exp917"]
    assert len(fits) == 4  # of exp911, which both depend on
    weights = [path for (path,) in hashed if path.name == "weights.safetensors"]
    assert len(weights) == len(set(weights)) == 8  # four of exp911, two of each second stage
    assert len(loaded) == len({path for _, path, *_ in loaded}) == 8


def test_other_flips_are_predicted_with_the_same_maps(home):
    with_flips, without = load_member("exp916/tta=h"), load_member("exp916")
    assert not with_flips.table["p_small"].equals(without.table["p_small"])


def test_a_missing_fold_of_the_first_stage_is_named(home):
    shutil.rmtree(fit_folder("exp911", 1, 0))
    with pytest.raises(
        UserError, match=r"whose seed 1 fold 0 is not finished \(1 of 4.*train exp911 --seed 1 --fold 0"
    ):
        first_stage_of("exp916")


def test_a_first_stage_on_another_fold_table_is_refused(home):
    path = fit_folder("exp911", 0, 1) / "run.json"
    record = json.loads(path.read_text()) | {"fold_hash": "0" * 64}
    path.write_text(json.dumps(record))
    with pytest.raises(UserError, match=r"exp916 cannot use .*fold1, which was trained on other folds"):
        first_stage_of("exp916")


def test_a_first_stage_with_changed_weights_is_refused(home):
    path = fit_folder("exp911", 0, 0) / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match="was changed after training"):
        first_stage_of("exp917")


def test_a_first_stage_that_was_trained_again_is_refused(home):
    folder = fit_folder("exp911", 0, 0)
    record = json.loads((folder / "run.json").read_text())
    record["sha256"]["oof"] = "0" * 64
    (folder / "run.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match=r"exp916/seed0/fold0 was trained on maps of exp911 that have changed since"):
        first_stage_of("exp916")


def test_a_changed_map_is_refused_when_it_is_read(home):
    found = first_stage_of("exp916")
    case_id = next(iter(found.fold_of))
    for seed in (0, 1):
        path = fit_folder("exp911", seed, found.fold_of[case_id]) / "oof_maps" / f"{case_id}.b2nd"
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match=r"is not the file that was written"):
        found.read(case_id)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"first_stage": "exp914"}, "first_stage = 'exp914' .* makes no maps: name a segmentation"),
        ({"first_stage": "exp916"}, "first_stage = 'exp916' .* has a first stage itself"),
    ],
    ids=str,
)
def test_first_stages_that_cannot_be_one_are_refused(home, overrides, message):
    config = type(load("exp911")).create(overrides=overrides)
    with pytest.raises(UserError, match=message):
        find_first_stage(config, open_dataset(config))


def test_the_time_of_a_second_stage_is_that_of_the_first_too(home, monkeypatch):
    monkeypatch.setattr(costs, "_timed", lambda *arguments: 0.5 + arguments[-1])  # seconds
    first, second = load_member("exp911"), load_member("exp916")
    cases = list(second.cases["case_id"][:2])
    (alone, _), (both, _) = measure(first, cases), measure(second, cases)
    assert both.start > 0
    assert both.loading(second) > len(second.fits) * both.load
    assert both.once == pytest.approx(0.5 + alone.seconds(first))
