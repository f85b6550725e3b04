"""What one more seed or fold may bring, against brute force and where there is nothing to tell it from."""

from __future__ import annotations

import json
import math

import pytest

from heldout.blend.members import load_member
from heldout.cli import run
from heldout.evaluate.growth import growth
from heldout.metrics import score
from tests.finished_runs import TINY

LOSS = TINY.replace("dataset=tiny", "dataset=tiny,metric=log_loss")


@pytest.mark.parametrize(("spec", "sign"), [(TINY, 1), (LOSS, -1)])
def test_the_gain_of_a_seed_follows_from_that_of_the_last(finish, spec, sign):
    name = finish(spec, seeds=(0, 1, 2), skill=0.5)
    found = growth(name)

    def of(*seeds: int) -> float:
        member = load_member("/".join([name, *(f"seed{seed}" for seed in seeds)]))
        return score(member.metric, member.table, member.dataset.classes)

    last = of(0, 1, 2) - (of(0, 1) + of(0, 2) + of(1, 2)) / 3
    assert found.seed_gain.value == pytest.approx(sign * last * 2 / 4)
    assert found.seed_gain.value > 0  # the noise of every seed is its own
    assert found.seed_gain.low < found.seed_gain.value < found.seed_gain.high
    assert (found.seeds, found.next_width) == (3, None)


def test_the_gain_of_the_next_seed_lies_in_the_interval_and_seeds_that_are_alike_bring_nothing(finish):
    name = finish(LOSS, seeds=(0, 1), skill=0.5)
    before = growth(name)
    finish(LOSS, seeds=(2,), skill=0.5)
    gain = before.score.value - growth(name).score.value
    assert before.seed_gain.low < gain < before.seed_gain.high
    alike = finish(LOSS + ",lr=0.01", seeds=(0, 1), skill=40.0)  # sure, and right
    assert growth(alike).seed_gain.high == pytest.approx(0, abs=1e-6)


def test_one_seed_says_nothing_of_the_next_and_a_fold_narrows_the_interval(finish, capsys):
    name = finish(seeds=(0,), folds=(0,), skill=0.5)
    found = growth(name)
    assert found.seed_gain is None
    assert found.next_width == pytest.approx(found.width / math.sqrt(2))
    assert run(["worth", name, "--json"]) == 0
    printed = capsys.readouterr()
    (value,) = json.loads(printed.out)
    assert value["seed_gain"] is None
    assert value["fold_hours"] == pytest.approx(75 / 3600)
    assert value["seed_hours"] == pytest.approx(found.planned * 75 / 3600)
    assert run(["worth", name]) == 0
    assert "train a second" in capsys.readouterr().err


def test_an_experiment_that_was_never_trained_is_refused(finish, capsys):
    finish()
    assert run(["worth", "exp001"]) == 2
    assert "has no finished fold: train it first with `python run.py exp001`" in capsys.readouterr().err
