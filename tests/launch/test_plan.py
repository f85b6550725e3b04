"""Fits wait for those that they depend on."""

from __future__ import annotations

import pytest

from heldout import files
from heldout.errors import UserError
from heldout.launch.plan import Fit, missing
from heldout.train import runs


@pytest.fixture
def chain(experiments):
    """exp911 starts from exp910; exp912 shows the maps of exp910, which has two seeds and two folds."""
    begin = '"""Squares."""\nfrom tests.train.exp901 import Exp901\n'
    (experiments / "exp910.py").write_text(f"{begin}class Exp910(Exp901):\n    seeds = (0, 1)\n")
    (experiments / "exp911.py").write_text(f'{begin}class Exp911(Exp901):\n    warm_start = "exp910"\n')
    (experiments / "exp912.py").write_text(f'{begin}class Exp912(Exp901):\n    first_stage = "exp910"\n')
    return experiments


def finish(fit: Fit) -> None:
    files.write_text(runs.fit_folder(fit.spec, fit.seed, fit.fold) / "run.json", "{}")


def test_a_warm_start_needs_the_same_seed_and_fold(chain):
    assert missing(Fit("exp911", 0, 1)) == [Fit("exp910", 0, 1), Fit("exp911", 0, 1)]


def test_a_first_stage_is_needed_in_full(chain):
    stages = [Fit("exp910", seed, fold) for seed in (0, 1) for fold in (0, 1)]
    assert missing(Fit("exp912", 0, 1)) == [*stages, Fit("exp912", 0, 1)]


def test_what_is_finished_is_not_missing(chain):
    finish(Fit("exp910", 0, 1))
    assert missing(Fit("exp911", 0, 1)) == [Fit("exp911", 0, 1)]
    assert missing(Fit("exp910", 0, 1)) == []


def test_a_circle_is_named(chain):
    text = (chain / "exp911.py").read_text().replace("Exp911", "Exp913").replace("exp910", "exp914")
    (chain / "exp913.py").write_text(text)
    (chain / "exp914.py").write_text(text.replace("Exp913", "Exp914").replace("exp914", "exp913"))
    with pytest.raises(UserError, match="exp913 -> exp914 depend on each other: change"):
        missing(Fit("exp913", 0, 0))
