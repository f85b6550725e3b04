"""The training notebook, replayed without a network, and its output taken in."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from heldout import files
from heldout.cli import run
from heldout.config import load
from heldout.deliver.kernel import replay
from heldout.errors import UserError
from heldout.launch.collect import collect
from heldout.launch.kaggle_training import OUTPUT, _leave, write_training
from heldout.launch.plan import Fit
from heldout.train import runs
from tests.finished_runs import TINY

SPEC = load(
    "exp004+dataset=tiny,epochs=3,seeds=(0,),source_options={'patients':40,'images_per_patient':1,'size':32},"
    "steps_per_epoch=20,threads=1,workers=0"
).spec


def notebook(folder: Path, target: Path, hours: str) -> Path:
    """Run the script of a training kernel as Kaggle does, offline; its output."""
    inputs, working = target / "input", target / "working"
    shutil.copytree(folder / "dataset", inputs)
    working.mkdir(parents=True)
    script = next((folder / "notebook").glob("*.py"))
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("HELDOUT_", "PYTHONPATH"))}
    done = subprocess.run(
        [sys.executable, "-c", replay.OFFLINE, str(script)],
        env={
            **clean,
            "HELDOUT_BUNDLE": str(inputs),
            "HELDOUT_WORKING": str(working),
            "HELDOUT_TRAIN_HOURS": hours,
            "KAGGLE_KERNEL_RUN_TYPE": "Batch",
        },
        cwd=target,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return working


@pytest.mark.journey
def test_sessions_that_end_too_early_come_to_the_bits_of_a_training_here(home, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("heldout.launch.kaggle_training.fetch_wheels", lambda *_: [])
    assert run(["train", SPEC, "--fold", "0"]) == 0
    here = runs.fit_folder(SPEC, 0, 0)
    expected = files.sha256_file(here / "weights.safetensors")
    shutil.rmtree(runs.run_folder(SPEC))

    assert run(["kernel", SPEC, "--train", "--user", "ada"]) == 0
    assert "2 fits are missing" in capsys.readouterr().out
    (kernel,) = (home / "kaggle_kernels").glob("*-train")
    about = json.loads((kernel / "notebook" / "kernel-metadata.json").read_text())
    assert about["enable_gpu"]
    assert about["dataset_sources"] == [json.loads((kernel / "dataset" / "dataset-metadata.json").read_text())["id"]]
    first = notebook(kernel, tmp_path / "one", "0.000001")
    assert run(["collect", str(first)]) == 0
    assert "begun, and goes on from its last epoch" in capsys.readouterr().out
    assert not runs.is_finished(here)
    assert runs.has_epoch(here)

    assert run(["kernel", SPEC, "--train", "--user", "ada"]) == 0
    second = notebook(kernel, tmp_path / "two", "1")
    assert run(["collect", str(second)]) == 0
    assert all(Fit(SPEC, 0, fold).is_finished() for fold in (0, 1))
    assert files.sha256_file(here / "weights.safetensors") == expected
    assert run(["collect", str(second)]) == 0
    assert "2 fits were here already" in capsys.readouterr().out
    assert run(["kernel", SPEC, "--train"]) == 2
    assert "are finished: nothing to train" in capsys.readouterr().err


@pytest.mark.extras
def test_a_notebook_gets_records_of_finished_fits_and_leaves_none_of_them(finish, home, tmp_path, monkeypatch):
    monkeypatch.setattr("heldout.launch.kaggle_training.build_wheel", lambda *_: None)
    monkeypatch.setattr("heldout.launch.kaggle_training.needed", lambda *_: ({}, []))
    monkeypatch.setattr("heldout.launch.kaggle_training.travel.pack_for", lambda _: home / "pyproject.toml")
    (home / "pyproject.toml").touch()
    spec = finish(TINY, seeds=(0,), folds=(0,))
    written = write_training([load(spec)], "tiny", "ada", 1.0)
    sent = written.folder / "dataset" / "home" / "working" / "runs"
    assert written.fits == 3, "of two seeds and two folds"
    assert sorted(path.name for path in sent.rglob("*") if path.is_file()) == ["config.json", "run.json"]
    _leave(sent, tmp_path / "output")
    assert not list((tmp_path / "output").rglob("run.json"))


@pytest.mark.parametrize("words", [["kernel", "--train"], ["plan"]])
def test_finished_fits_of_other_settings_are_no_fits_of_this_experiment(finish, home, capsys, words):
    spec = finish(TINY, seeds=(0, 1), folds=(0, 1))
    path = runs.fit_folder(spec, 0, 0) / "config.json"
    record = json.loads(path.read_text())
    record["identity"]["fields"]["lr"] = 0.5
    files.write_json(path, record)
    assert run([words[0], spec, *words[1:]]) == 2
    assert "seed0/fold0 was trained with other settings (lr: 0.5 -> " in capsys.readouterr().err


@pytest.fixture
def output(finish, home, tmp_path) -> Path:
    """What a notebook left of a fit that is finished here too."""
    spec = finish(TINY, seeds=(0,), folds=(0,))
    folder = tmp_path / "output"
    shutil.copytree(home / "working" / "runs", folder / "runs")
    write_list(folder)
    assert collect(folder).known == 1
    shutil.rmtree(runs.run_folder(spec))
    return folder


def write_list(folder: Path) -> None:
    paths = [path for path in sorted((folder / "runs").rglob("*")) if path.is_file()]
    listed = {path.relative_to(folder).as_posix(): files.sha256_file(path) for path in paths}
    files.write_json(folder / OUTPUT, {"schema": 1, "files": listed})


def test_a_finished_fit_is_taken_in_whole(output):
    (fit,) = collect(output).finished
    assert fit.is_finished()
    runs.check_weights(fit.folder())


def test_of_several_fits_none_is_taken_in_where_one_is_refused(output, finish):
    spec = finish(TINY, seeds=(0, 1), folds=(0, 1))
    shutil.rmtree(output / "runs")
    shutil.move(runs.run_folder(spec), output / "runs" / spec)
    last = output / "runs" / spec / "seed1" / "fold1" / "config.json"
    kept = last.read_text()
    files.write_json(last, {**json.loads(kept), "data_hash": "0" * 64})
    write_list(output)
    with pytest.raises(UserError, match=r"seed1/fold1 was trained on other cases than .*: restore them, or delete"):
        collect(output)
    assert not runs.run_folder(spec).exists()
    last.write_text(kept)
    write_list(output)
    assert [(fit.seed, fit.fold) for fit in collect(output).finished] == [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_fits_with_other_threads_than_each_other_are_refused(output, finish):
    spec = finish(TINY, seeds=(0,), folds=(0, 1))
    shutil.rmtree(output / "runs")
    shutil.move(runs.run_folder(spec), output / "runs" / spec)
    for fold, threads in enumerate((2, 4)):
        path = output / "runs" / spec / "seed0" / f"fold{fold}" / "config.json"
        files.write_json(path, {**json.loads(path.read_text()), "threads": threads})
    write_list(output)
    with pytest.raises(UserError, match="threads"):
        collect(output)


def test_a_changed_file_is_refused(output):
    path = next(output.rglob("oof.parquet"))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"oof.parquet is missing or changed: download the output"):
        collect(output)


@pytest.mark.parametrize("place", ["", "output/runs", "nowhere"])
def test_what_is_no_output_of_a_notebook_is_told(output, place, capsys):
    folder = output.parent / place
    assert run(["collect", str(folder)]) == 2
    assert f"{folder} holds no runs.json: give the directory of a training notebook's output" in capsys.readouterr().err


def test_a_name_that_leads_elsewhere_is_refused(output):
    record = json.loads((output / OUTPUT).read_text())
    record["files"]["runs/exp004/../../../fold0/x"] = "0" * 64
    files.write_json(output / OUTPUT, record)
    with pytest.raises(UserError, match="which is not a file of a run: download"):
        collect(output)


@pytest.mark.parametrize("name", ["runs/exp004/seedx/fold0/f", "/runs/exp004/seed0/fold0/f"])
def test_a_name_of_no_fit_is_refused(output, name):
    record = json.loads((output / OUTPUT).read_text())
    record["files"][name] = "0" * 64
    files.write_json(output / OUTPUT, record)
    with pytest.raises(UserError, match=f"lists {name}, which is not a file of a run: download"):
        collect(output)


@pytest.mark.parametrize("name", ["config.json", "weights.safetensors"])
def test_a_fit_whose_list_is_not_whole_is_refused(output, name):
    record = json.loads((output / OUTPUT).read_text())
    record["files"] = {path: digest for path, digest in record["files"].items() if not path.endswith(name)}
    files.write_json(output / OUTPUT, record)
    with pytest.raises(UserError, match=rf"does not list runs/.*{name}: download"):
        collect(output)


def test_a_fit_of_other_settings_is_refused(output):
    path = next(output.rglob("config.json"))
    record = json.loads(path.read_text())
    record["identity"]["fields"]["lr"] = 0.5
    files.write_json(path, record)
    write_list(output)
    with pytest.raises(UserError, match=r"was trained with other settings than .* has \(lr: 0.5 -> "):
        collect(output)


@pytest.mark.parametrize(
    ("field", "values", "words"),
    [
        ("threads", (2, 4), ("with 4 threads", "with 2")),
        ("precision", ("32-true", "16-mixed"), ("in 16-mixed", "in 32")),
    ],
)
def test_a_fit_of_other_numerics_than_the_fits_here_is_refused_until_its_folder_is_deleted(
    output, finish, field, values, words
):
    finish(TINY, seeds=(0,), folds=(1,))
    here = runs.fit_folder(load(TINY).spec, 0, 1) / "config.json"
    for path, value in zip((here, next(output.rglob("config.json"))), values, strict=True):
        files.write_json(path, {**json.loads(path.read_text()), field: value})
    write_list(output)
    with pytest.raises(UserError, match=rf"{output}/.*fold0 was trained {words[0]}, and .*fold1 {words[1]}.*delete"):
        collect(output)
    assert not runs.fit_folder(load(TINY).spec, 0, 0).exists()
    shutil.rmtree(next(output.rglob("fold0")))
    assert collect(output).finished == ()


def test_a_fit_on_other_folds_is_refused(output):
    path = next(output.rglob("config.json"))
    files.write_json(path, {**json.loads(path.read_text()), "fold_hash": "0" * 64})
    write_list(output)
    with pytest.raises(UserError, match="was trained on other folds than those in"):
        collect(output)


def test_an_own_fit_that_differs_is_kept_and_named(output, finish):
    finish(TINY, seeds=(0,), folds=(0,), skill=0.3)
    with pytest.raises(UserError, match=r"is finished and differs from .*: delete one of the two"):
        collect(output)
