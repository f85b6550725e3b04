"""What fits will take, from what some of their steps took."""

from __future__ import annotations

import json
import math
import sys

import pytest
import torch

from heldout import files
from heldout.cli import run
from heldout.config import load
from heldout.data.cases import open_dataset
from heldout.data.parallel import START_SECONDS
from heldout.errors import UserError
from heldout.launch import forecast, measure
from heldout.launch.forecast import forecast_fit, makespan
from heldout.launch.measure import MeasuredFit, record_path
from heldout.launch.plan import Fit
from heldout.launch.sizes import propose
from heldout.train import runs
from heldout.train.results import describe_machine
from tests.finished_runs import TINY, VOLUMES

SPEC = load(
    "exp004+dataset=tiny,epochs=4,seeds=(0,),source_options={'patients':40,'images_per_patient':1,'size':32},"
    "steps_per_epoch=20,threads=1,workers=0"
).spec


def measured(**changes: object) -> MeasuredFit:
    about = {
        **{"spec": "exp004", "identity_hash": "x", "machine": "a processor, 2 cores", "threads": 2},
        **{"first_seconds": 0.5, "end_seconds": 3.0},
        **{"start_seconds": 5.0, "steps": 10, "step_seconds": 0.5, "save_seconds": 1.0, "predict_seconds": 2.0},
        **{"open_seconds": 3.0, "load_seconds": 4.0, "read_seconds": 0.25, "blend_seconds": 0.125},
        **{"command_seconds": 0.25, "exit_seconds": 0.75, "tune_seconds": 0.5, "interval_seconds": 7.0},
        **{"validate_seconds": 1.0, "held_out": 30, "training": 120, "map_bytes": 1000, "weight_bytes": 4000},
        **{
            "state_bytes": 16000,
            "import_bytes": 4 * 10**8,
            "host_bytes": 10**9,
            "loader_bytes": 10**8,
            "watts": 16.0,
            "measured": "today",
        },
    }
    return MeasuredFit(**{**about, **changes})


def test_a_fit_is_its_steps_validations_and_predictions():
    config = load("exp004+epochs=10,validate_every=4,workers=2")
    found = forecast_fit(config, measured())
    assert found.train_seconds == 10 * (10 * 0.5 + 1) + 3 * 30 * 1.0  # after epochs 4, 8 and 10
    assert found.predict_seconds == 30 * 2.0 + 3 + 0.75, "with the end of the process"
    assert found.seconds == 0.25 + 5 + 0.5 + found.train_seconds + found.predict_seconds
    assert found.host_bytes == 10**9 + 2 * 10**8
    assert found.disk_bytes == pytest.approx(4000 + 30 * 1000, abs=10**6)
    assert found.watt_hours == pytest.approx(found.seconds * 16 / 3600)


def test_predictions_and_blends_read_every_case(monkeypatch):
    for module in ("data.parallel", "launch.forecast"):
        monkeypatch.setattr(f"heldout.{module}.cores", lambda: 4)
    predicted = forecast.forecast_prediction(measured(), fits=5, cases=10)
    assert predicted.seconds == 0.25 + 4 + 10 * (0.25 + 5 * 2.0)
    assert predicted.disk_bytes == 10 * 1000
    assert predicted.watt_hours == pytest.approx(106.75 * 16 / 3600)
    blended = forecast.forecast_blend(measured(), seeds=2, cases=10, folds=1)
    assert blended.seconds == 0.25 + 3 + 2 * 10 * 0.125 + 10 * 0.5
    assert blended.host_bytes == 4 * 10**8
    several = forecast.forecast_blend(measured(), seeds=2, cases=400, folds=5)
    assert several.host_bytes == 5 * 4 * 10**8
    assert several.seconds == 0.25 + 3 + START_SECONDS + 2 * 400 * 0.125 / 4 + 5 * 400 * 0.5 + 7
    labels = forecast.forecast_blend(measured(map_bytes=0), seeds=2, cases=400, folds=1)
    assert labels.seconds == 0.25 + 3 + 2 * 400 * 0.125 + 400 * 0.5, "labels are read by one process"


def test_a_warning_behind_the_measurement_does_no_harm(home, monkeypatch, tmp_path):
    told = json.dumps(measured(spec=SPEC).to_json())
    script = f"import sys; print('loading'); print({told!r}); print('UserWarning: late', file=sys.stderr)"
    (tmp_path / "python").write_text(f'#!/bin/sh\nexec {sys.executable} -c "$SCRIPT"\n')
    (tmp_path / "python").chmod(0o755)
    monkeypatch.setenv("SCRIPT", script)
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    assert measure.measured(Fit(SPEC, 0, 0), None).step_seconds == 0.5
    monkeypatch.setenv("SCRIPT", "import sys; print('starts'); sys.exit('MemoryError: no room')")
    record_path(SPEC).unlink()
    with pytest.raises(UserError, match="cannot be measured: MemoryError: no room"):
        measure.measured(Fit(SPEC, 0, 0), None)


def test_what_another_machine_or_other_threads_measured_is_measured_again(home, monkeypatch, tmp_path):
    told = json.dumps(measured(spec=SPEC).to_json())
    (tmp_path / "python").write_text(f"#!/bin/sh\necho '{told}'\n")
    (tmp_path / "python").chmod(0o755)
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    same = {"spec": SPEC, "identity_hash": load(SPEC).identity_hash(), "step_seconds": 9.0}
    here = describe_machine(torch.device("cpu"))
    for machine, threads, seconds in ((here, 2, 9.0), ("a processor, 64 cores", 2, 0.5), (here, 1, 0.5)):
        files.write_json(record_path(SPEC), measured(**same, machine=machine).to_json())
        assert measure.measured(Fit(SPEC, 0, 0), threads).step_seconds == seconds


def test_searching_hard_negatives_takes_its_time_too():
    plain, mining = (
        load(f"exp001+epochs=10{more}") for more in (",hard_negative_fraction=0.0", ",hard_negative_fraction=0.5")
    )
    more = forecast_fit(mining, measured()).train_seconds - forecast_fit(plain, measured()).train_seconds
    assert more == ((10 - 1) // mining.mine_every) * 120


def test_fits_at_once_wait_for_those_that_they_start_from():
    fits = [Fit("exp004", 0, fold) for fold in range(4)]
    seconds = dict(zip(fits, (10.0, 20.0, 30.0, 40.0), strict=True))
    assert makespan(seconds, {}, 1) == 100
    assert makespan(seconds, {}, 2) == 50
    assert makespan(seconds, {fits[3]: (fits[0],)}, 4) == 50


def test_what_does_not_fit_is_told_with_a_remedy(home, monkeypatch):
    one = forecast_fit(load("exp004+epochs=2,workers=0"), measured(device_bytes=9 * 2**30))
    monkeypatch.setattr(forecast, "available_memory", lambda: 15 * 10**8)
    memory, gpu = forecast.warnings([one] * 3, 2, 8 * 2**30)
    assert "2 fits at once need 1.9 GiB of memory, and 1.4 GiB are free: lower --workers" in memory
    assert "a fit needs 9.0 GiB of GPU memory, and the GPU has 8.0 GiB: lower batch_size or patch_size" in gpu
    assert list(forecast.warnings([one], 1, None)) == []


def test_the_patch_is_cut_and_then_the_batch_fills_the_memory(home, masks):
    config = load(f"{VOLUMES},patch_size=(16,16,16)")  # volumes of 32 voxels a side
    asked = []

    def peak(config, size, samples):
        asked.append((tuple(size), samples))
        return 10**9 + 1000 * samples * math.prod(size)

    found = propose(config, open_dataset(config), 1_155_555_556, peak)
    assert found.field == "patch_size"
    assert sorted(found.size) == [16, 32, 32]
    assert found.batch_size == 2
    assert asked[-1] == (found.size, found.batch_size)
    with pytest.raises(UserError, match=r"needs more than 0.9 GiB: take a smaller network"):
        propose(config, open_dataset(config), 10**9 - 10**7, peak)


def test_a_network_that_takes_no_single_sample_is_planned_with_two(home, masks):
    config = load(f"{VOLUMES},patch_size=(16,16,16)")

    def peak(config, size, samples):
        if samples == 1:
            raise UserError("batch norm needs more than one value")
        return 10**9 + 1000 * samples * math.prod(size)

    assert propose(config, open_dataset(config), 1_155_555_556, peak).batch_size == 2


@pytest.mark.journey
def test_a_plan_measures_once_and_forecasts_within_reason(home, capsys):
    assert run(["plan", SPEC, "--workers", "2", "--json"]) == 0
    (about,) = json.loads(capsys.readouterr().out)["experiments"]
    assert about["missing_fits"] == len(load(SPEC).fold_list)
    before = record_path(SPEC).stat().st_mtime_ns
    assert run(["plan", SPEC]) == 0
    shown = capsys.readouterr().out
    assert "energy is an estimate" in shown
    assert record_path(SPEC).stat().st_mtime_ns == before
    assert not runs.run_folder(SPEC).exists(), "nothing is trained"
    assert run(["train", SPEC, "--fold", "0"]) == 0
    seconds = float(runs.read_run(runs.fit_folder(SPEC, 0, 0)).train_seconds)
    assert seconds / 4 < about["train_seconds"] < 4 * seconds  # the benchmark is stricter, on a machine of its own


def test_a_measurement_of_another_machine_is_taken(home, capsys):
    spec = load(TINY).spec
    files.write_json(home / "other.json", measured(spec=spec, machine="a large GPU").to_json())
    assert run(["plan", TINY, "--measured", str(home / "other.json")]) == 0
    out, err = capsys.readouterr()
    assert "measured on a large GPU" in out
    assert "as it was before an edit: run `plan" in " ".join(err.split())
    same = measured(spec=spec, identity_hash=load(TINY).identity_hash())
    files.write_json(home / "other.json", same.to_json())
    assert run(["plan", TINY, "--measured", str(home / "other.json")]) == 0
    assert "before an edit" not in capsys.readouterr().err


def test_a_measurement_of_another_experiment_is_refused(home, capsys):
    files.write_json(home / "other.json", measured(spec="exp001").to_json())
    assert run(["plan", TINY, "--measured", str(home / "other.json")]) == 2
    assert f"other.json is of exp001, not of {load(TINY).spec}: plan that one apart" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["much", "0GB", "-1GB", "1.2.3GB", "."])
def test_memory_that_is_no_amount_is_refused(home, capsys, text):
    assert run(["plan", TINY, f"--fit={text}"]) == 2
    assert f"--fit {text!r} is not an amount of memory: write it as 16GB" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "words", "at_once", "threads"),
    [
        ("", ["--workers", "4"], 4, 2),  # as the engine of this machine shares eight cores
        ("", [], 1, None),
        (",threads=3", ["--workers", "2"], 2, 3),
        (",devices=2", ["--gpus", "4"], 2, 4),
    ],
)
def test_a_step_is_measured_with_the_threads_that_a_fit_gets(home, monkeypatch, capsys, more, words, at_once, threads):
    spec, asked = load(TINY + more).spec, []

    def instead(fit, threads):
        asked.append(threads)
        return measured(spec=fit.spec)

    monkeypatch.setattr("heldout.launch.measure.measured", instead)
    monkeypatch.setattr("heldout.launch.local.cores", lambda: 8)
    assert run(["plan", spec, *words]) == 0
    out, err = capsys.readouterr()
    assert asked == [threads]
    assert f"missing fits, {at_once} at once" in out
    assert ("trains a fold on 2 devices, and its steps are measured on one" in " ".join(err.split())) == (
        "devices" in more
    )
