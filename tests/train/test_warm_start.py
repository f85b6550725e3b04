"""A warm start takes weights of the same fold, seed, folds and cases, or none at all."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from heldout import files
from heldout.config import loading
from heldout.data.cases import open_dataset
from heldout.errors import UserError
from heldout.tasks import Classify2D, MultiTask2D, Segment2D
from heldout.train import runs
from heldout.train.dependencies import find_dependency
from heldout.train.fit import fit_fold
from heldout.train.origins import WarmStart

PARENT = '"""Squares."""\nfrom tests.train.exp901 import Exp901 as Base\nclass Exp902(Base):\n    epochs = 1\n'
CHILD = (
    '"""Squares, warm."""\nfrom exps.exp902 import Exp902\nclass Exp903(Exp902):\n    warm_start = "exp902"\n'
    '    epochs = 2\n    budgets = {"quick": {"epochs": 1}, "slow": {"epochs": 3}}\n'
)


@pytest.fixture
def family(squares, experiments):
    """``exp902`` and ``exp903``, which starts from it."""
    (experiments / "exp902.py").write_text(PARENT)
    (experiments / "exp903.py").write_text(CHILD)
    return squares


def rewrite(home: Path, text: str) -> None:
    """Replace ``exp902``."""
    (home.parent / "package" / "exps" / "exp902.py").write_text(text)


def fit(spec: str, fold: int = 0, seed: int = 0, **overrides) -> Path:
    config = loading.load(spec, None, [f"{name}={value!r}" for name, value in overrides.items()])
    return fit_fold(config, open_dataset(config), fold, seed, quiet=True)


def test_training_begins_with_the_other_weights(family, monkeypatch):
    source = fit("exp902")
    begun = []

    def save(path, progress, parts):
        begun.append(parts)
        raise KeyboardInterrupt

    monkeypatch.setattr("heldout.train.checkpoint.save", save)
    monkeypatch.setattr("heldout.train.fit._run_epoch", lambda _: (1.0, 0.1))
    with pytest.raises(KeyboardInterrupt):
        fit("exp903")
    weights = load_file(source / "weights.safetensors")
    for part in ("network", "average"):
        state = begun[0][part].state_dict()
        state = state.get("module", state)
        assert all(torch.equal(state[name], value) for name, value in weights.items()), part


def test_the_record_names_the_weights(family):
    source, folder = fit("exp902"), fit("exp903")
    digest = files.sha256_file(source / "weights.safetensors")
    assert runs.read_run(folder).warm_start.to_json() == {"spec": "exp902", "sha256": digest, "loaded": 9, "tensors": 9}
    assert runs.read_config(folder).made_from.to_json() == {"warm_start": digest}
    assert runs.read_run(source).warm_start is None


def test_a_budget_starts_from_the_same_budget_where_there_is_one(family):
    with pytest.raises(UserError, match=r"exp903@quick starts from exp902@quick, whose seed 0 fold 0 is not finished"):
        fit("exp903@quick")
    with pytest.raises(UserError, match=r"exp903@slow starts from exp902, whose seed 0 fold 0 is not finished"):
        fit("exp903@slow")


@pytest.mark.parametrize(
    ("fold", "seed", "remedy"),
    [
        (1, 0, r"run `python run.py train exp902 --seed 0 --fold 1` first"),
        (0, 1, r"add 1 to the seeds of exp902, which has 0 only"),
    ],
)
def test_no_other_fold_or_seed_will_do(family, fold, seed, remedy):
    fit("exp902")
    with pytest.raises(UserError, match=rf"exp903 starts from exp902, whose seed {seed} fold {fold} .*: {remedy}"):
        fit("exp903", fold, seed)
    assert not runs.run_folder("exp903").exists()


@pytest.mark.parametrize(("name", "what"), [("fold_hash", "folds"), ("data_hash", "cases")])
def test_other_folds_and_cases_are_refused(family, name, what):
    record = fit("exp902") / "run.json"
    files.write_json(record, {**json.loads(record.read_text()), name: "0" * 64})
    with pytest.raises(UserError, match=rf"train exp902 again on these {what}"):
        fit("exp903")


def test_another_fold_table_is_refused(family):
    fit("exp902")
    with pytest.raises(UserError, match=r"cannot use .* other folds"):
        fit("exp903", fold_seed=1)


def test_weights_that_were_changed_by_hand_are_refused(family):
    path = fit("exp902") / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(UserError, match=r"weights\.safetensors was changed after training"):
        fit("exp903")


def test_an_unfinished_run_is_refused_when_its_source_changed_and_a_finished_one_stays(family, monkeypatch):
    source = fit("exp902")

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("heldout.train.fit.write_results", stop)
        with pytest.raises(KeyboardInterrupt):
            fit("exp903")
    kept = {name: (source / name).read_bytes() for name in ("weights.safetensors", "run.json")}
    weights = load_file(source / "weights.safetensors")
    weights["body.0.bias"] += 1
    save_file(weights, source / "weights.safetensors")
    record = json.loads(kept["run.json"])
    record["sha256"]["weights"] = files.sha256_file(source / "weights.safetensors")
    files.write_json(source / "run.json", record)
    with pytest.raises(UserError, match=r"exp903/seed0/fold0 was started from .* has changed since \(warm_start"):
        fit("exp903")
    for name, data in kept.items():
        (source / name).write_bytes(data)
    folder = fit("exp903")
    shutil.rmtree(source)
    assert fit("exp903") == folder


def test_best_weights_pass_their_mark_on(family):
    rewrite(family, PARENT + '    checkpoint = "best"\n    validate_every = 1\n')
    with pytest.raises(UserError, match=r"chosen by each fold's own score .* mark exp903.* with checkpoint = 'best'"):
        fit("exp903", checkpoint="last")


def test_an_experiment_cannot_start_from_itself(family):
    rewrite(family, PARENT + '    warm_start = "exp902"\n')
    with pytest.raises(UserError, match=r"warm_start = 'exp902' names exp902 itself: name another experiment"):
        fit("exp902")


def test_an_experiment_of_another_dataset_is_refused_before_it_is_to_be_trained(family):
    with pytest.raises(UserError, match=r"is of the dataset squares, .*: name an experiment of circles"):
        find_dependency(loading.load("exp903", None, ["dataset='circles'"]), "warm_start")


def test_what_does_not_fit_stays_random(tmp_path):
    def network(classes: int) -> nn.Module:
        return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, classes))

    first, second = network(3), network(2)
    save_file(first.state_dict(), tmp_path / "weights.safetensors")
    before = {name: value.clone() for name, value in second.state_dict().items()}
    start = WarmStart("exp902", tmp_path, "0" * 64)
    start.fill(second)
    for name, value in second.state_dict().items():
        assert torch.equal(value, before[name] if name.startswith("4.") else first.state_dict()[name])
    assert start.describe(second).to_json() == {"spec": "exp902", "sha256": "0" * 64, "loaded": 4, "tensors": 6}
    with pytest.raises(UserError, match=r"warm_start = 'exp902' fits 0 of the network's 2 tensors: name an experiment"):
        start.fill(nn.Linear(5, 5))


@pytest.mark.parametrize("task", [Segment2D, MultiTask2D])
def test_a_segmentation_network_begins_with_the_encoder_of_a_classifier(tmp_path, task):
    classifier = Classify2D.create(overrides={"encoder": "resnet10t"}).build_model(1, False)
    save_file(classifier.state_dict(), tmp_path / "weights.safetensors")
    network = task.create(overrides={"encoder": "tu-resnet10t"}).build_model(1, False)
    WarmStart("exp902", tmp_path, "0" * 64).fill(network)
    encoder = network.body.encoder.model.state_dict()
    known = classifier.body.state_dict()
    assert encoder.keys() == {name for name in known if not name.startswith("fc.")}
    assert all(torch.equal(value, known[name]) for name, value in encoder.items())
