"""Searching values on inner folds: honest, resumable, the same again."""

from __future__ import annotations

import ast
import json
import multiprocessing
import os
import shutil
import signal
import sys
import time
from types import SimpleNamespace

import optuna
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from heldout import files
from heldout.config.space import read_space
from heldout.data.cases import open_dataset
from heldout.errors import UserError
from heldout.search.report import _write_table, experiment_text, write_search
from heldout.search.search import Search, default_space, search, values_of
from heldout.search.trial import inner_dataset, trial_config
from heldout.tasks import load_task
from heldout.train import runs
from heldout.train.fit import fit_fold
from tests.train.exp901 import Exp901

SPACE = {"lr": ("log", 1e-3, 1e-1), "augment": ["none", "light"], "batch_size": ("int", 3, 5)}


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def plan(trials: int = 3, seed: int = 0, **overrides) -> Search:
    config = Exp901.create(overrides={"search_space": SPACE, "epochs": 2, "augment": "none", **overrides})
    return Search(config, fold=0, trials=trials, inner_folds=2, seed=seed)


def outcome(one: Search, trials) -> list:
    """What was tried and how it went, without times."""
    return [(t.state.name, t.value, t.intermediate_values, values_of(one, t.params)) for t in trials]


def test_inner_folds_know_nothing_of_the_patients_held_out(squares):
    dataset = open_dataset(Exp901())
    inside = inner_dataset(dataset, 0, 3, 0)
    training, held_out = dataset.fold_cases(0)
    assert sorted(inside.cases["case_id"]) == sorted(training["case_id"])
    assert set(inside.folds.index) == set(training["case_id"])
    groups = training.set_index("case_id")["group_id"]
    assert (inside.folds.groupby(groups).nunique() == 1).all()
    assert (inside.fold_hash, inside.data_hash) != (dataset.fold_hash, dataset.data_hash)
    with pytest.raises(UserError, match="is not in"):
        inside.truth(held_out["case_id"][0])


def test_the_same_seed_tries_the_same_values_and_another_seed_others(squares):
    one = plan()
    first = outcome(one, search(one, quiet=True))
    assert first[0][3] == {"lr": 0.02, "augment": "none", "batch_size": 4}  # the experiment's own
    assert len({json.dumps(values) for *_, values in first}) == 3
    shutil.rmtree(one.folder)
    assert outcome(one, search(one, quiet=True)) == first
    other = plan(seed=1)
    assert outcome(other, search(other, quiet=True))[1][3] != first[1][3]
    assert not (runs.run_folder(one.config.spec)).exists()  # a search is no run


def test_more_trials_continue_the_search(squares):
    shorter, longer = plan(1), plan(3)
    begun = outcome(shorter, search(shorter, quiet=True))
    assert outcome(longer, search(longer, quiet=True))[:1] == begun
    assert not list((longer.folder / "trials").iterdir())


def test_a_search_killed_in_a_trial_goes_on_with_it(squares):
    one = plan(2, epochs=6)
    process = multiprocessing.get_context("fork").Process(target=search, args=(one,), kwargs={"quiet": True})
    process.start()
    deadline = time.monotonic() + 60
    while not list(one.folder.glob("trials/*/inner1/state.pt")) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert list(one.folder.glob("trials/*/inner*/state.pt"))
    resumed = outcome(one, search(one, quiet=True))
    assert not list((one.folder / "trials").iterdir())
    shutil.rmtree(one.folder)
    assert resumed == outcome(one, search(one, quiet=True))


def test_a_diverged_trial_is_on_record_and_the_search_goes_on(squares):
    one = plan(3, search_space={"lr": ("uniform", 1e-3, 1e12)}, optimizer="sgd", gradient_clip=None)
    trials = search(one, quiet=True)
    assert [trial.state.name for trial in trials].count("FAIL") >= 1
    assert "lower lr" in next(t.user_attrs["reason"] for t in trials if t.state.name == "FAIL")
    assert trials[0].state.name == "COMPLETE"


def test_the_table_the_best_values_and_an_experiment_to_copy(squares):
    one = plan()
    trials = search(one, quiet=True)
    best = write_search(one, trials)
    table = pd.read_csv(one.folder / "trials.csv", keep_default_na=False)
    assert list(table["lr"]) == [values["lr"] for *_, values in outcome(one, trials)]
    assert best.value == max(trial.value for trial in trials if trial.state.name == "COMPLETE")
    assert best.trials.to_json() == {"complete": 3, "pruned": 0, "fail": 0}
    text = (one.folder / "experiment.py").read_text()
    module = ast.parse(text)
    assert len(ast.get_docstring(module).splitlines()[0]) <= 100
    assigned = {node.targets[0].id: ast.literal_eval(node.value) for node in module.body[-1].body}
    assert assigned == {**one.config.overrides, **best.values}
    assert (one.folder / "history.png").stat().st_size > 5000


def test_a_value_of_the_table_is_no_formula(squares):
    one = plan(1, search_space={"encoder_weights": ["a.pth", "-1+A1"]})
    trial = optuna.trial.create_trial(
        params={"encoder_weights": 1},
        distributions={"encoder_weights": optuna.distributions.CategoricalDistribution((0, 1))},
        user_attrs={"seconds": 1.0},
        value=0.5,
    )
    one.folder.mkdir(parents=True)
    _write_table(one, [trial])
    assert pd.read_csv(one.folder / "trials.csv")["encoder_weights"].tolist() == ["'-1+A1"]


def test_trials_count_their_last_weights_and_no_picked_epoch():
    config = trial_config(Exp901.create(overrides={"checkpoint": "best", "epochs": 24}), {"lr": 0.1})
    assert (config.checkpoint, config.early_stopping, config.validate_every, config.lr) == ("last", None, 3, 0.1)


def test_the_default_space_holds_the_own_values_of_an_experiment():
    space = read_space(default_space(Exp901()))
    assert space["lr"].low < Exp901().lr < space["lr"].high
    assert set(space) == {"lr", "weight_decay", "augment"}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"fold": 7}, "exp901.* has no fold 7: it has 0 ... 1"),
        ({"trials": 0}, "trials and processes must be at least 1"),
        ({"inner_folds": 1}, "inner_folds at least 2"),
    ],
)
def test_a_search_that_cannot_be_is_refused(overrides, message):
    with pytest.raises(UserError, match=message):
        Search(Exp901(), **overrides)


@pytest.mark.parametrize("field", ["warm_start", "first_stage", "pseudo_labels"])
def test_an_experiment_that_stands_on_another_is_refused(field):
    with pytest.raises(UserError, match=rf"uses {field} = 'exp040', made by .* --set {field}=None"):
        Search(Exp901.create(overrides={field: "exp040"}))


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"lrr": ("log", 1, 2)}, "search_space 'lrr' is not a field; did you mean 'lr'"),
        ({"metrics": ["dice"]}, "search_space 'metrics' is not a field$"),
        (
            {"metric": ["dice_all", "dice_pos"]},
            "'metric' is not a field to search, as trials must share it: leave it out",
        ),
        ({"fold_seed": ("int", 0, 9)}, "search_space 'fold_seed' is not a field to search"),
        ({"warm_start": [None, "exp040"]}, "search_space 'warm_start' is not a field to search"),
        ({"first_stage": [None, "exp040"]}, "search_space 'first_stage' is not a field to search"),
        ({"pseudo_labels": [None, "extra"]}, "search_space 'pseudo_labels' is not a field to search"),
        ({"lr": ("log", 0, 1)}, r"search_space lr = \('log', 0, 1\): write"),
        ({"lr": (1e-4, 1e-2)}, "with finite low < high, .* or a list of different values"),
        ({"augment": ["light", "light"]}, "a list of different values"),
        ({"epochs": ("int", 1, float("inf"))}, "search_space epochs = .*: write .* with finite low < high"),
        ({"epochs": ("int", 1.5, 3)}, 'whole for "int"'),
        ({"lr": ("log", 1e-4, float("inf"))}, "search_space lr = .*: write .* with finite low < high"),
        ({"lr": [1e-4, float("inf")]}, "search_space lr = .* may try inf: Input should be a finite number"),
        ({"foreground_fraction": ("uniform", 0, 1.5)}, r"search_space foreground_fraction = .* may try 1\.5: .* 1$"),
        ({"epochs": ("int", 0, 4)}, "search_space epochs = .* may try 0: Input should be greater than or equal to 1"),
        ({"batch_size": ("uniform", 1.0, 8.0)}, "search_space batch_size = .* may try 1.0: .* valid integer"),
        ({"ema_decay": ("uniform", 0.9, 0.99999)}, "may try 1.0: Input should be less than 1"),
        ({"augment": ["light", "heavy"]}, "search_space augment = .* may try 'heavy': Input should be 'none', 'light'"),
    ],
)
def test_a_space_that_cannot_be_is_refused_at_import(space, message):
    with pytest.raises(UserError, match=message):
        Exp901.create(overrides={"search_space": space})


def test_a_space_may_hold_everything_its_fields_take():
    space = {
        "lr": ("log", 1e-4, 1),
        "foreground_fraction": ("uniform", 0, 1),
        "epochs": ("int", 1, 4),
        "patch_size": [None, (16, 16), (24, 24)],
        "gradient_clip": [None, 1.0],
    }
    assert Exp901.create(overrides={"search_space": space}).search_space == space


def test_values_that_contradict_the_experiment_are_refused_before_the_first_trial():
    settings = {"hard_negative_fraction": 0.5, "mine_every": 2, "epochs": 6}
    assert Search(Exp901.create(overrides={**settings, "search_space": {"mine_every": ("int", 2, 5)}}))
    with pytest.raises(UserError, match=r"mine_every = 9 comes too late .* search_space with mine_every = 9\)"):
        Search(Exp901.create(overrides={**settings, "search_space": {"mine_every": ("int", 2, 9)}}))


def test_a_second_search_in_the_same_place_is_refused(squares):
    one = plan()
    with (
        files.lock(one.folder, "searching elsewhere"),
        pytest.raises(UserError, match=r"in use by .*searching elsewhere"),
    ):
        search(one, quiet=True)


def test_the_space_is_no_part_of_what_a_run_is():
    assert Exp901.create(overrides={"search_space": SPACE}).identity_hash() == Exp901().identity_hash()


def test_an_edit_of_a_helper_is_another_search(experiments):
    """Trials that were made with other code are not taken up."""
    dataset, found = SimpleNamespace(data_hash="a", fold_hash="b"), []
    head = "from exps.helper import SCALE\nfrom heldout.tasks import Classify2D\n\n\n"
    body = 'class Exp905(Classify2D):\n    dataset = "squares"\n\n    def build_augment(self):\n        return SCALE\n'
    (experiments / "exp905.py").write_text(f'"""Squares."""\n\n{head}{body}')
    for value in ("1", "1  # as before", "2"):
        for name in ("exps.helper", "exps.exp905"):
            sys.modules.pop(name, None)
        (experiments / "helper.py").write_text(f"SCALE = {value}\n")
        found.append(Search(load_task("exp905")).identity(dataset))
    assert found[0] == found[1] != found[2]


@settings(max_examples=50, deadline=None)
@given(st.floats(1e-6, 1e3), st.floats(1.001, 1e3), st.floats(0, 1))
def test_every_draw_lies_in_its_range(low, factor, share):
    one = read_space({"x": ("uniform", low, low * factor)})["x"]
    drawn = low + share * (low * factor - low)
    assert one.value(drawn) == pytest.approx(drawn, rel=1e-3)
    assert float(f"{one.value(drawn):.4g}") == one.value(drawn)


def test_a_watched_training_that_is_ended_goes_on_to_the_same_weights(squares):
    class Enough(Exception):  # noqa: N818
        pass

    def stop(progress):
        if progress.epoch == 2:
            raise Enough

    config = Exp901()
    dataset, seen = open_dataset(config), []
    with pytest.raises(Enough):
        fit_fold(config, dataset, 0, 0, quiet=True, watch=stop)
    folder = runs.fit_folder(config.spec, 0, 0)
    assert not runs.is_finished(folder)
    fit_fold(config, dataset, 0, 0, quiet=True, watch=lambda progress: seen.append(progress.epoch))
    assert seen == [2, 3, 4]
    other = fit_fold(config, dataset, 0, 0, quiet=True, folder=folder.with_name("elsewhere"))
    assert files.sha256_file(other / "weights.safetensors") == files.sha256_file(folder / "weights.safetensors")


def test_the_experiment_of_a_search_holds_its_overrides_and_a_title_of_whole_words():
    config = load_task("exp042_patches@quick+epochs=3,image_size=(96,96),patch_size=(64,64)")
    text = experiment_text(Search(config), {"lr": 0.003, "patch_size": (48, 48)})
    title = ast.get_docstring(ast.parse(text)).splitlines()[0]
    assert title == "FracAtlas at a higher resolution, in patches ..., with values found on inner folds without fold 0."
    assert len(title) <= 100
    body = ast.parse(text).body[-1]
    assert body.name == "Exp042PatchesSearch"
    assert {node.targets[0].id: ast.literal_eval(node.value) for node in body.body} == {
        "epochs": 3,
        "image_size": (96, 96),
        "lr": 0.003,
        "patch_size": (48, 48),
        "budgets": {"quick": {"epochs": 3, "image_size": (96, 96), "patch_size": (48, 48)}},
    }
