"""What a command refuses at once, and what it leaves alone."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from heldout import files
from heldout.cli import run


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
