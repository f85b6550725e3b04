"""What trackers are told: read from the records, sent once, and again only what is missing."""

from __future__ import annotations

import json
import subprocess

import pytest

from heldout import files
from heldout.cli import run
from heldout.cli.engines import EngineKind, EngineOptions
from heldout.config import load
from heldout.journal import TrialStore
from heldout.track.follow import tracked
from heldout.track.mirror import Mirror, known_sources, read_state, state_path
from heldout.track.read import run_of, run_source, subjects
from heldout.track.read_runs import system_file
from heldout.track.trackers import open_tracker
from heldout.train.history import EpochRow, write_metrics
from heldout.train.minutes import MinutesRecord, _identity_hash, record_path
from tests.finished_runs import TINY


class Ledger:
    """A tracker that keeps what it is told, and fails when it is told to."""

    destination = "here"

    def __init__(self):
        self.runs: dict[str, dict] = {}
        self.broken = False

    def open(self, subject, parent, known):
        if self.broken:
            raise ConnectionError("no route to host")
        name = known or f"id{len(self.runs)}"
        kept = self.runs.setdefault(name, {"points": [], "system": [], "settled": [], "parent": parent, "ends": []})
        tracker = self

        class Session:
            id = name

            def log(self, points, axis):
                if tracker.broken:
                    raise ConnectionError("no route to host")
                kept["points"] += points

            def log_system(self, points):
                kept["system"] += points

            def settle(self, subject):
                kept["settled"].append(subject)

            def close(self, *, finished):
                kept["ends"].append(finished)

        return Session()


def add_epochs(spec, seed, fold, count, seconds=2.0):
    from heldout.train.runs import fit_folder

    rows = [EpochRow(e + 1, 1 / (e + 1), 0.1, seconds, e / 10, 0.0) for e in range(count)]
    write_metrics(fit_folder(spec, seed, fold), rows, "roc_auc")


def test_fits_and_their_experiment_are_told_with_scores_and_hashes(finish):
    spec = finish(folds=(0, 1), seeds=(0,))
    add_epochs(spec, 0, 0, 3)
    add_epochs(spec, 0, 1, 2)
    whole, *fits = subjects(f"runs/{spec}")
    assert [fit.key for fit in fits] == [f"runs/{spec}/seed0/fold0", f"runs/{spec}/seed0/fold1"]
    assert {fit.group for fit in fits} == {whole.group} == {spec}
    assert [point.step for point in fits[0].points] == [1, 2, 3]
    assert fits[0].points[1].time - fits[0].points[0].time == pytest.approx(2.0)
    assert fits[0].points[2].values["train_loss"] == pytest.approx(1 / 3)
    record = json.loads((files.home() / "working" / fits[0].key / "run.json").read_text())
    assert fits[0].summary[record["metric"]] == record["score"]
    assert fits[0].tags["sha256.weights"] == record["sha256"]["weights"]
    assert fits[0].tags["fold_hash"] == record["fold_hash"]
    metric = record["metric"]
    assert whole.summary[f"{metric}_low"] <= whole.summary[metric] <= whole.summary[f"{metric}_high"]
    assert whole.images["overlays"].exists()


def test_mean_curves_come_with_the_last_fit(finish):
    spec = finish(seeds=(0, 1), folds=(0, 1))
    for seed in (0, 1):
        for fold in (0, 1):
            add_epochs(spec, seed, fold, 3 + fold)
    whole, *_ = subjects(f"runs/{spec}")
    assert whole.finished
    assert [point.values["train_loss"] for point in whole.points] == pytest.approx([1, 1 / 2, 1 / 3])


def test_only_what_is_new_is_sent(finish):
    spec = finish(seeds=(0,), folds=(0,))
    add_epochs(spec, 0, 0, 2)
    key, tracker = f"runs/{spec}/seed0/fold0", Ledger()
    Mirror("ledger", tracker).look([f"runs/{spec}"], final=True)
    add_epochs(spec, 0, 0, 5)
    system_file(key).parent.mkdir(parents=True)
    system_file(key).write_text("time,cpu_percent\n5.0,80\n20.0,90\n")
    for _ in range(2):
        mirror = Mirror("ledger", tracker)
        mirror.look([f"runs/{spec}"], final=True)
        assert not mirror.unsent
    whole, fit = tracker.runs["id0"], tracker.runs["id1"]
    assert fit["parent"] == "id0"
    assert whole["parent"] is None
    assert [point.step for point in fit["points"]] == [1, 2, 3, 4, 5]
    assert [point.values["cpu_percent"] for point in fit["system"]] == [80, 90]
    assert len(fit["settled"]) == 2  # metrics.csv, which is stored with it, has changed once
    assert len(tracker.runs) == 2


def test_a_fold_that_was_trained_again_becomes_a_new_run(finish):
    spec = finish(seeds=(0,), folds=(0,))
    tracker = Ledger()
    for epochs, seconds in ((4, 2.0), (2, 2.0), (2, 2.001), (3, 2.001)):  # the same epochs never take equally long
        add_epochs(spec, 0, 0, epochs, seconds)
        Mirror("ledger", tracker).look([f"runs/{spec}"], final=True)
    assert [len(one["points"]) for one in tracker.runs.values()] == [0, 4, 2, 3]


def test_a_run_is_found_once_the_epochs_of_its_minutes_are_known(finish):
    config = load(TINY)
    source = run_source(config.spec, 20)
    assert run_source(config.spec, None) == f"runs/{config.spec}"
    assert list(subjects(source)) == []
    assert run_of(source) is None
    about = {
        **{"spec": config.spec, "fingerprint": _identity_hash(config), "minutes": 20.0, "epochs": 7, "steps": 5},
        **{"step_seconds": 0.1, "machine": "a processor", "measured": "today"},
    }
    files.write_json(record_path(config, 20), MinutesRecord(**about).to_json())
    spec = finish(load(TINY, overrides=["epochs=7"]).spec, seeds=(0,), folds=(0,))
    assert run_of(source) == spec
    tracker = Ledger()
    Mirror("ledger", tracker).look([source], final=True)
    assert [one["parent"] for one in tracker.runs.values()] == [None, "id0"]
    assert known_sources("ledger") == [f"runs/{spec}"]


def test_what_a_broken_tracker_missed_is_sent_later(finish):
    spec = finish(seeds=(0,), folds=(0,))
    add_epochs(spec, 0, 0, 3)
    key, tracker = f"runs/{spec}/seed0/fold0", Ledger()
    tracker.broken = True
    mirror = Mirror("ledger", tracker)
    mirror.look([f"runs/{spec}"], final=True)
    assert "no route to host" in mirror.unsent[key].error
    assert "no route to host" in read_state(state_path("ledger", key)).sent["here"].error
    tracker.broken = False
    mirror = Mirror("ledger", tracker)
    mirror.look([f"runs/{spec}"], final=True)
    assert not mirror.unsent
    assert len(tracker.runs["id1"]["points"]) == 3
    assert read_state(state_path("ledger", key)).sent["here"].error == ""


def test_blend_with_seal_and_test_evaluation(finish, capsys):
    spec = finish()
    assert run(["blend", spec, "--name", "mix", "--sampler", "equal"]) == 0
    blend = next(subjects("blends/mix"))
    decision = json.loads((files.home() / "working/blends/mix/decision.json").read_text())
    metric = decision["metric"]
    assert blend.summary[metric] == decision["score"]["cross_fitted"]
    assert blend.summary[f"{metric}_in_sample"] == decision["score"]["in_sample"]
    assert blend.tags["digest"] == decision["digest"]
    weights = {key for key in blend.tags if key.startswith("sha256.weights.")}
    assert len(weights) == 4
    assert blend.images["overlays"].exists()
    assert list(subjects("tests/mix")) == []


def test_tensorboard_holds_curves_pictures_and_lineage(finish, capsys):
    spec = finish(seeds=(0,), folds=(0,))
    add_epochs(spec, 0, 0, 3)
    assert run(["track", "sync", spec, "--track", "tensorboard"]) == 0
    assert "tensorboard" in capsys.readouterr().out
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = files.home() / "working/track/tensorboard/runs" / spec
    events = EventAccumulator(str(folder / "seed0" / "fold0"), size_guidance={"tensors": 0}).Reload()
    assert [(one.step, one.value) for one in events.Scalars("train_loss")] == [
        (1, 1.0), (2, 0.5), (3, pytest.approx(1 / 3)),
    ]  # fmt: skip
    whole = EventAccumulator(str(folder)).Reload()
    assert whole.Images("overlays")[0].encoded_image_string.startswith(b"\x89PNG")
    assert any(tag.startswith("final/") and tag.endswith("_low") for tag in whole.Tags()["scalars"])
    text = events.Tensors("lineage")[0].tensor_proto.string_val[0].decode()
    assert "sha256.weights" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--track", "neptune"], "choose of wandb, mlflow, trackio, tensorboard, and repeat --track for several"),
        (["--track", "mlflow"], "MLFLOW_TRACKING_URI"),
    ],
)
def test_a_tracker_that_cannot_work_is_refused_before_training(home, monkeypatch, capsys, words, message):
    if "mlflow" in words:
        pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert run(["train", "exp001@quick", *words]) == 2
    assert message in capsys.readouterr().err
    assert not (home / "working" / "runs").exists()


def test_sync_names_what_does_not_exist(home, capsys):
    assert run(["track", "sync", "nothing", "--track", "tensorboard"]) == 2
    assert "'nothing' is neither a run" in capsys.readouterr().err
    assert run(["track", "sync"]) == 2
    assert "nothing was tracked yet" in capsys.readouterr().err


def test_open_tracker_of_tensorboard_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("HELDOUT_TENSORBOARD", str(tmp_path))
    assert open_tracker("tensorboard").destination == str(tmp_path)


def test_this_machine_is_not_sampled_for_fits_of_other_nodes(home, monkeypatch):
    """Its use would be shown as theirs."""
    orders = []
    monkeypatch.setattr("heldout.track.follow._start", lambda watching: orders.append(watching.samples) or quiet())
    for kind in (None, EngineKind.local, EngineKind.ray, EngineKind.slurm):
        options = EngineOptions(kind, None, None, None, None)
        with tracked(["tensorboard"], "runs/exp001", here=options.trains_here):
            pass
    assert orders == [True, True, False, False]


def quiet() -> subprocess.Popen[bytes]:
    return subprocess.Popen(["true"], stdin=subprocess.PIPE)


def test_a_search_is_told_trial_by_trial_and_what_it_found_at_the_end(home, monkeypatch):
    spec = load(
        "exp004+dataset=tiny,epochs=1,seeds=(0,),source_options={'patients':40,'images_per_patient':1,'size':32},"
        "steps_per_epoch=2,threads=1,workers=0,search_space={'lr':('log',0.001,0.01)}"
    ).spec
    source, ledger, seen = f"searches/{spec}/fold0", Ledger(), []
    mirror, add = Mirror("tensorboard", ledger), TrialStore.add

    def look(store, trial):
        add(store, trial)
        mirror.look([source], final=False)
        seen.append([one.step for kept in ledger.runs.values() for one in kept["points"]])

    monkeypatch.setattr(TrialStore, "add", look)
    mirror.look([source], final=False)
    assert ledger.runs == {}
    assert run(["search", spec, "--trials", "2", "--inner-folds", "2"]) == 0
    assert seen == [[0], [0, 1]]
    mirror.look([source], final=True)
    (search,) = [kept for kept in ledger.runs.values() if kept["parent"] is None]
    assert [one.step for one in search["points"]] == [0, 1]
    assert (search["ends"], search["settled"][-1].tags["best_trial"] in "01") == ([True], True)
    assert len(ledger.runs) == 3, "the search and its two trials"
