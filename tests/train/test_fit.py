from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from heldout import files
from heldout.data.cases import open_dataset
from heldout.data.dataset import Dataset
from heldout.errors import UserError
from heldout.predict.store import read_map
from heldout.tasks.classify import Classify3D
from heldout.tasks.segment import Segment3D
from heldout.train import runs
from heldout.train.failures import explained
from heldout.train.fit import fit_fold, run_experiment
from tests.data import toy
from tests.train.exp901 import Exp901


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def fit(fold: int = 0, seed: int = 0, **overrides) -> Path:
    config = Exp901.create(overrides=overrides)
    return fit_fold(config, open_dataset(config), fold, seed, quiet=True)


def metrics(folder: Path) -> pd.DataFrame:
    """``metrics.csv`` without the column that no two runs share."""
    return pd.read_csv(folder / "metrics.csv", dtype=str, keep_default_na=False).drop(columns="seconds")


def hashes(folder: Path) -> dict[str, str]:
    found = {name: files.sha256_file(folder / name) for name in ("weights.safetensors", "oof.parquet")}
    return found | {path.name: files.sha256_file(path) for path in (folder / "oof_maps").iterdir()}


class Killed(BaseException):
    """Stands for the end of the process, which no code gets to handle."""


def test_learns_and_leaves_a_folder_that_proves_it(squares):
    folder = fit(epochs=25, augment="light", accumulate=1)
    record = runs.read_run(folder)
    rows = pd.read_csv(folder / "metrics.csv")
    assert rows["epoch"].tolist() == list(range(1, 26))
    assert rows["train_loss"].iloc[-1] < 0.7 * rows["train_loss"].iloc[0]
    assert record.score > 0.5
    assert record.score == pytest.approx(rows["val_dice_all"].iloc[-1])
    assert not (folder / "state.pt").exists()
    assert {"curves.png", "tensorboard", "config.json"} <= {path.name for path in folder.iterdir()}

    table = pd.read_parquet(folder / "oof.parquet")
    dataset = open_dataset(Exp901())
    assert sorted(table["case_id"]) == sorted(dataset.fold_cases(0)[1]["case_id"])
    assert set(table["fold"]) == {0}
    case = table.iloc[0]
    stored = read_map(folder, "oof", case["case_id"], record.sha256.maps[case["case_id"]])
    truth = dataset.truth(case["case_id"])
    assert stored.shape == truth.shape
    assert ((stored >= 128) & (truth == 1)).sum() == case["tp_lesion"]
    assert record.sha256.weights == files.sha256_file(folder / "weights.safetensors")
    assert record.sha256.oof == files.sha256_file(folder / "oof.parquet")


def test_tensorboard_reads_every_epoch_once(squares):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = fit(epochs=3)
    events = EventAccumulator(str(folder / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("train_loss")] == [1, 2, 3]
    assert [event.step for event in events.Scalars("val_dice_all")] == [2, 3]


@pytest.mark.parametrize("overrides", [{}, {"schedule": "one_cycle", "checkpoint": "best", "workers": 2}])
@pytest.mark.parametrize(
    ("module", "function", "call"),
    [
        ("heldout.train.checkpoint", "save", 2),  # an epoch is trained, but not on the disk
        ("heldout.train.history", "write_metrics", 2),  # the state is on the disk, its rows are not
        ("heldout.train.results", "load_model", 1),  # the weights are written, the predictions are not
        ("heldout.train.results", "score", 1),  # an epoch is trained, but not validated
        ("heldout.predict.store", "_write_map", 3),  # some predictions are written
    ],
)
def test_a_stopped_run_ends_as_if_it_had_not_been(squares, monkeypatch, overrides, module, function, call):
    expected = fit(**overrides)
    kept = hashes(expected), metrics(expected)
    shutil.rmtree(squares / "working" / "runs")

    original, calls = getattr(sys.modules[module], function), []

    def stop(*arguments, **keywords):
        calls.append(1)
        if len(calls) == call:
            raise Killed
        return original(*arguments, **keywords)

    with monkeypatch.context() as patch:
        patch.setattr(f"{module}.{function}", stop)
        with pytest.raises(Killed):
            fit(**overrides)
    folder = fit(**overrides)
    assert hashes(folder) == kept[0]
    pd.testing.assert_frame_equal(metrics(folder), kept[1])


def test_killed_by_the_system_and_resumed(squares):
    command = [sys.executable, "-c", "from tests.train.exp901 import main; main()"]
    overrides = {"epochs": 20, "workers": 1, "validate_every": 5}
    environment = {**os.environ, "PYTHONPATH": f"{files.REPOSITORY / 'src'}:{files.REPOSITORY}", "OMP_NUM_THREADS": "1"}
    expected = hashes(fit(**overrides))
    folder = runs.fit_folder(Exp901.create(overrides=overrides).spec, 0, 0)
    shutil.rmtree(squares / "working" / "runs")

    generator, kills = random.Random(0), 0
    for _ in range(2):
        process = subprocess.Popen([*command, repr(overrides)], env=environment, stderr=subprocess.DEVNULL)
        while not (folder / "state.pt").exists() and process.poll() is None:
            time.sleep(0.01)
        time.sleep(generator.uniform(0, 0.5))
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
    assert kills
    # the dead process' loading processes must not hold the folder
    subprocess.run([*command, repr(overrides)], env=environment, check=True, stdout=subprocess.DEVNULL)
    assert hashes(folder) == expected
    assert metrics(folder)["epoch"].tolist() == [str(number) for number in range(1, 21)]
    assert not list(folder.rglob("*.part"))


def test_a_finished_fold_returns_at_once(squares, monkeypatch):
    folder = fit(epochs=1)
    monkeypatch.setattr("heldout.train.fit._fit", None)
    assert fit(epochs=1) == folder


@pytest.mark.parametrize("damage", ["missing", "changed"])
def test_a_finished_fold_without_its_weights_is_refused(squares, damage):
    path = fit(epochs=1) / "weights.safetensors"
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(UserError, match=rf"weights\.safetensors .*{damage}.*restore it, or delete the folder"):
        fit(epochs=1)


def test_a_patient_moved_to_another_fold_by_hand_is_not_trained_on(squares):
    config = Exp901.create(overrides={"epochs": 1})
    dataset = open_dataset(config)
    table = pd.read_csv(dataset.folder / "folds.csv", dtype=str)
    moved = table["patient_id"][0]
    table.loc[0, "fold"] = str(1 - int(table["fold"][0]))
    table.to_csv(dataset.folder / "folds.csv", index=False)
    with pytest.raises(UserError, match=rf"patient {moved} .*folds\.csv.*undo the change, or run `folds --rebuild`"):
        run_experiment(config, quiet=True)
    assert not runs.run_folder(config.spec).exists()


def test_only_what_is_missing_is_trained(squares):
    config = Exp901.create(overrides={"epochs": 1, "seeds": (0, 1)})
    first = fit_fold(config, open_dataset(config), 1, 1, quiet=True)
    before = (first / "run.json").stat().st_mtime_ns
    folders = run_experiment(config, quiet=True)
    assert len(folders) == 4
    assert (first / "run.json").stat().st_mtime_ns == before
    assert [(seed, fold) for seed, fold, _ in runs.finished(config)] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert [folder.name for folder in runs.run_folders()] == [config.spec]
    assert len(runs.read_info(runs.run_folder(config.spec)).fits) == 4
    weights = [load_file(folder / "weights.safetensors")["body.0.weight"] for folder in folders]
    assert all(not torch.equal(a, b) for i, a in enumerate(weights) for b in weights[:i])


def test_a_second_process_is_told_who_holds_the_fold(squares):
    config = Exp901.create(overrides={"epochs": 1})
    dataset = open_dataset(config)
    message = rf"fold0 is in use by process {os.getpid()} on .*, training exp901"
    with files.lock(runs.fit_folder(config.spec, 0, 0), "training exp901"), pytest.raises(UserError, match=message):
        fit_fold(config, dataset, 0, 0, quiet=True)


def test_validations_read_the_mask_of_a_case_once(squares, monkeypatch):
    read, original = [], toy.Toy.read_mask
    dataset = open_dataset(Exp901())
    monkeypatch.setattr(toy.Toy, "read_mask", lambda self, row: read.append(row["case_id"]) or original(self, row))
    fit(epochs=3, validate_every=1)
    assert sorted(read) == sorted(dataset.fold_cases(0)[1]["case_id"])


def test_validations_take_masks_in_any_order_of_memory(squares, monkeypatch):
    truth = Dataset.truth
    monkeypatch.setattr(Dataset, "truth", lambda self, case_id: np.asfortranarray(truth(self, case_id)))
    fit(epochs=1, validate_every=1)


def test_changed_settings_are_refused_with_the_difference(squares):
    folder = fit(epochs=1)
    stored = json.loads((folder / "config.json").read_text())
    stored["identity"]["fields"]["lr"] = 0.5
    files.write_json(folder / "config.json", stored)
    for fold in (0, 1):
        with pytest.raises(UserError, match=r"fold0 was trained with other settings \(lr: 0.5 -> 0.02\).* or delete "):
            fit(fold=fold, epochs=1)


@pytest.mark.parametrize("name", ["fold_hash", "data_hash"])
def test_changed_data_are_refused(squares, name):
    folder = fit(epochs=1)
    stored = json.loads((folder / "config.json").read_text())
    files.write_json(folder / "config.json", {**stored, name: "0" * 64})
    with pytest.raises(UserError, match=rf"was trained on other .*{name} differs.*: restore them, or delete "):
        fit(epochs=1)


class Explodes(Exp901):
    def build_loss(self, exclusive, positive_weight=None):
        inner, calls = super().build_loss(exclusive, positive_weight), []

        def loss(outputs, batch):
            calls.append(1)
            return inner(outputs, batch) * (float("nan") if len(calls) == 8 else 1.0)

        return loss


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_its_state(squares):
    config = Explodes.create(overrides={"steps_per_epoch": 5})
    with pytest.raises(UserError, match=r"the loss is nan in epoch 2, step 3: lower lr, or set precision = '32-true'"):
        fit_fold(config, open_dataset(config), 0, 0, quiet=True)
    state = torch.load(runs.fit_folder(config.spec, 0, 0) / "state.pt", weights_only=True)
    assert state["progress"]["epoch"] == 1
    assert all(value.isfinite().all() for value in state["parts"]["network"].values())


def test_best_checkpoint_is_kept_and_marked(squares, monkeypatch):
    scores = iter([0.1, 0.9, 0.2, float("nan"), 0.3])
    states = []

    def score(self, network):
        states.append({name: value.clone() for name, value in network.state_dict().items()})
        return next(scores)

    monkeypatch.setattr("heldout.train.results.ValidationFold.score", score)
    folder = fit(epochs=9, validate_every=1, checkpoint="best", early_stopping=3)
    record = runs.read_run(folder)
    assert (record.checkpoint, record.best_epoch, record.epochs) == ("best", 2, 5)
    stored = load_file(folder / "weights.safetensors")
    assert all(torch.equal(value, states[1][name]) for name, value in stored.items())


def test_accumulated_batches_step_the_schedule_once(squares):
    folder = fit(epochs=2, accumulate=3, steps_per_epoch=4, schedule="constant", warmup_fraction=0.5, validate_every=1)
    # four batches in groups of three and one: two steps per epoch, of which the first epoch warms up
    assert metrics(folder)["lr"].astype(float).tolist() == pytest.approx([0.02 * 2 / 3, 0.02])


class Lesion3D(Segment3D):
    dataset = "volumes"
    source = "toy"
    source_options = {"dimensions": 3}
    test_fraction = 0.2
    fold_count = 2
    near_duplicates = False
    patch_size = (16, 16, 16)
    filters = (4, 8, 8)
    deep_supervision = 1
    epochs = 1
    batch_size = 2
    workers = 0


class Adrenal3D(Classify3D):
    dataset = "volumes"
    source = "toy"
    source_options = {"dimensions": 3, "kind": "classification"}
    test_fraction = 0.2
    fold_count = 2
    near_duplicates = False
    image_size = (16, 16, 16)
    encoder = "resnet10"
    width = 0.1
    epochs = 1
    batch_size = 4
    workers = 0


@pytest.mark.parametrize("task", [Lesion3D, Adrenal3D])
def test_volumes(monkeypatch, tmp_path, task):
    folder = toy.install(monkeypatch, tmp_path).with_name("volumes")
    rows, images, masks = [], {}, {}
    for number in range(16):
        case_id = f"v{number:02d}"
        rows.append({"case_id": case_id, "patient_id": case_id})
        images[case_id] = toy.textured(number, (1, 16, 10 + number % 4, 14))
        masks[case_id] = np.zeros_like(images[case_id])
        masks[case_id][0, 2:9, 2:9, 2:9] = number % 2
        rows[-1]["y_lesion"] = number % 2
    toy.write_toy(folder, rows, images, masks if task is Lesion3D else {})
    config = task()
    folder = fit_fold(config, open_dataset(config), 0, 0, quiet=True)
    assert np.isfinite(runs.read_run(folder).score)
    table = pd.read_parquet(folder / "oof.parquet")
    assert ("tp_lesion" in table) == (task is Lesion3D)


def test_a_full_disk_is_a_sentence(tmp_path):
    def save():
        with explained(tmp_path), open("/dev/full", "wb", buffering=0) as handle:
            torch.save({"x": torch.zeros(1000)}, handle)

    with pytest.raises(UserError, match=rf"the disk of {tmp_path} is full: make room and run the same command again"):
        save()


def test_a_damaged_state_is_named(squares, monkeypatch):
    def stop(*_):
        raise Killed

    monkeypatch.setattr("heldout.train.fit.write_results", stop)
    with pytest.raises(Killed):
        fit(epochs=1)
    path = runs.fit_folder(Exp901.create(overrides={"epochs": 1}).spec, 0, 0) / "state.pt"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"state.pt cannot be resumed .*: delete it, and the fold starts again"):
        fit(epochs=1)


def test_a_damaged_record_is_named(squares):
    folder = fit(epochs=1)
    record = json.loads((folder / "run.json").read_text())
    record["sha256"] = None
    files.write_json(folder / "run.json", record)
    with pytest.raises(UserError, match=r"run.json has a missing or wrong sha256: delete the folder"):
        runs.read_info(folder.parents[1])


def test_listing_runs_needs_no_torch(squares):
    code = "import sys; from heldout.train import runs; runs.run_folders(); sys.exit('torch' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(files.REPOSITORY / "src")}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0


def test_a_forked_child_does_not_keep_the_folder(tmp_path):
    """Else a killed training would hold its folder until its loading processes notice."""
    context = multiprocessing.get_context("fork")
    with files.lock(tmp_path, "training"):
        ready, leave = context.Event(), context.Event()
        child = context.Process(target=lambda: (ready.set(), leave.wait(60)))
        child.start()
        assert ready.wait(60)
        opened = {path.resolve() for path in Path(f"/proc/{child.pid}/fd").iterdir()}
        leave.set()
        child.join()
    assert len(opened) > 2
    assert tmp_path / ".lock" not in opened
