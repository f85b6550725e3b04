"""A command that is asked to end says one sentence; what a command refuses at once, and what it leaves alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from heldout import files
from heldout.cli import run
from heldout.errors import UserError
from heldout.train.failures import explained

SPEC = "exp001+epochs=200,source_options={'patients':24,'images_per_patient':1,'size':32},workers=2"


@pytest.mark.parametrize("wanted", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("group", [False, True], ids=["process", "group"])
def test_a_training_that_is_stopped_says_so_in_one_line(home, wanted, group):
    command = [sys.executable, str(files.REPOSITORY / "run.py"), SPEC, "--fold", "0", "--seed", "0"]
    environment = {name: value for name, value in os.environ.items() if name != "HELDOUT_DATA"}
    with subprocess.Popen(
        command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        deadline = time.monotonic() + 240
        while not list(home.rglob("state.pt")) and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.1)
        (os.killpg if group else os.kill)(process.pid, wanted)
        _, text = process.communicate(timeout=60)
    assert process.returncode == 128 + wanted
    assert "Traceback" not in text
    assert text.strip().splitlines()[-1].endswith("everything finished is kept, and the same command resumes")


def test_a_loading_process_that_dies_is_one_sentence(home):
    """Also where its death interrupts a file that is being written, which looks like a full disk."""
    command = [sys.executable, str(files.REPOSITORY / "run.py"), SPEC, "--fold", "0", "--seed", "0"]
    environment = {name: value for name, value in os.environ.items() if name != "HELDOUT_DATA"}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        deadline, loaders = time.monotonic() + 240, list[str]()
        while len(loaders) < 2 and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.1)
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            loaders = [pid for pid in children if b"run.py" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        os.kill(int(loaders[0]), signal.SIGKILL)
        _, text = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "Traceback" not in text
    assert text.strip().splitlines()[-1].startswith("error: a loading process died, mostly for want of memory")


def test_a_writer_that_a_dying_process_interrupts_is_no_full_disk(tmp_path):
    writer = RuntimeError("PytorchStreamWriter failed writing file: unexpected pos 64 vs 0")
    for cause, message in ((None, "the disk of "), ("DataLoader worker (pid 7) is killed", "a loading process died")):
        writer.__cause__ = None if cause is None else RuntimeError(cause)
        with pytest.raises(UserError, match=f"^{message}"), explained(tmp_path / "exp/seed0/fold0"):
            raise writer


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (files.REPOSITORY / "exps" / "exp040.py", "is the file of an experiment: write its name, exp040"),
        ("elsewhere/exp120.py", "put the file there, and write its name, such as exp120"),
    ],
)
def test_the_path_of_an_experiment_is_answered_by_its_name(capsys, path, message):
    assert run([str(path)]) == 2
    assert message in capsys.readouterr().err


def test_folds_refuses_a_metric_that_training_would_refuse(home, capsys):
    assert run(["folds", "exp001", "--set", "metric=rocauc"]) == 2
    assert "metric 'rocauc' does not exist" in capsys.readouterr().err
    assert run(["folds", "exp003", "--set", "source=table", "--set", "source_options={}"]) == 2
    assert "source 'table' has 2D cases and Segment3D takes 3D" in capsys.readouterr().err


def test_the_network_is_not_forbidden_to_a_command():
    code = "import os; from heldout.cli import run; run(['experiments']); print(os.environ.get('HF_HUB_OFFLINE'))"
    environment = {**os.environ, "PYTHONPATH": f"{files.REPOSITORY / 'src'}:{files.REPOSITORY}"}
    environment.pop("HF_HUB_OFFLINE", None)
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "None"
