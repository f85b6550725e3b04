"""Every experiment passes the checks of `python run.py check`: no dataset is needed. Run with `python -m pytest`."""

import pytest

from heldout.config import names
from heldout.tasks.check import run_checks


@pytest.mark.parametrize("name", names())
def test_experiment_passes_its_checks(name):
    assert [f"{what}: {problem}" for what, problem in run_checks(name) if problem] == []
