"""A search goes on where it was stopped and ends as if it never had been; what it depends on is checked."""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import signal
import time
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest

from heldout.blend.greedy import climb
from heldout.blend.label_objective import LabelObjective
from heldout.blend.study import SearchPlan
from heldout.blend.weights import EQUAL, GREEDY, baselines, search
from heldout.errors import UserError
from heldout.journal import Journal


class Counted(LabelObjective):
    """Counts how many weightings were scored, and can be slow."""

    tried = 0
    seconds = 0.0

    def tune(self, weights):
        Counted.tried += 1
        time.sleep(self.seconds)
        return super().tune(weights)


@pytest.fixture
def objective():
    random = np.random.default_rng(0)
    truth = random.random(150) < 0.4
    frame = pd.DataFrame({"case_id": [f"case{i}" for i in range(150)], "fold": np.arange(150) % 3})
    frame["patient_id"], frame["y_a"] = frame["case_id"], truth.astype(float)
    noise = random.standard_normal((4, 150)) * np.array([2.0, 2.5, 3.0, 3.5])[:, None]
    scores = 1 / (1 + np.exp(-(noise + 2.5 * (truth - 0.5))))[..., None]
    Counted.tried, Counted.seconds = 0, 0.0
    return Counted(frame, ("a",), "log_loss", scores, False)


@pytest.fixture
def journal(tmp_path):
    return Journal(tmp_path / "study.journal", "0123456789abcdef of these members")


def simple(objective):
    """Starts that leave something to be found."""
    return {name: found for name, found in baselines(objective).items() if name != GREEDY}


def lines(journal):
    return journal.path.read_text().splitlines(keepends=True)


@pytest.mark.parametrize("sampler", ["tpe", "cmaes"])
@pytest.mark.parametrize("stopped", [1, 9, 24])
def test_a_search_that_was_stopped_ends_as_if_it_never_had_been(objective, journal, tmp_path, sampler, stopped):
    plan, starts = SearchPlan(sampler, trials=40, seed=3), simple(objective)
    whole = Journal(tmp_path / "whole.journal", journal.identity)
    expected = search(objective, plan, starts=starts, journal=whole)
    assert search(objective, plan, starts=starts) == expected
    kept = lines(whole)[: stopped + 1]  # the first line is the study
    journal.path.write_text("".join(kept) + lines(whole)[stopped + 1][:20])
    assert search(objective, plan, starts=starts, journal=journal) == expected
    parameters = [[json.loads(line).get("params") for line in lines(one)] for one in (journal, whole)]
    assert parameters[0] == parameters[1]


def test_finished_trials_are_not_scored_again(objective, journal):
    starts = baselines(objective)
    search(objective, SearchPlan(trials=60), starts=starts, journal=journal)
    Counted.tried = 0
    shorter = search(objective, SearchPlan(trials=30), starts=starts, journal=journal)
    assert Counted.tried == 1
    assert shorter == search(objective, SearchPlan(trials=30), starts=starts)
    assert search(objective, SearchPlan(trials=60), journal=journal)[0] <= shorter[0]


def test_a_process_killed_while_searching_loses_nothing_it_finished(objective, journal):
    def work():
        Counted.seconds = 0.02
        search(objective, SearchPlan(trials=400), starts=starts, journal=journal)

    starts = baselines(objective)
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    while not journal.path.exists() or len(lines(journal)) < 15:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    done = len(lines(journal)) - 1
    Counted.tried = 0
    resumed = search(objective, SearchPlan(trials=50), starts=starts, journal=journal)
    assert Counted.tried <= 50 - done + 1
    assert resumed == search(objective, SearchPlan(trials=50), starts=starts)


def test_another_set_of_parts_does_not_continue_a_study(objective, journal):
    search(objective, SearchPlan(trials=30), journal=journal)
    other = Journal(journal.path, "fedcba9876543210 of others")
    Counted.tried = 0
    found = search(objective, SearchPlan(trials=30), starts=baselines(objective), journal=other)
    assert Counted.tried > 20
    assert found == search(objective, SearchPlan(trials=30))
    assert found == search(objective, SearchPlan(trials=30), journal=journal)


def test_several_processes_share_the_trials(objective, journal):
    starts = simple(objective)
    found = search(objective, SearchPlan(trials=40, processes=2), starts=starts, journal=journal)
    trials = [json.loads(line) for line in lines(journal)[1:]]
    assert 40 <= len(trials) <= 42
    # the first trials, then two processes, of which one may start so late that nothing is left to do
    assert len({trial["user_attrs"]["writer"] for trial in trials}) in (2, 3)
    values = [trial["value"] for trial in trials[:40]]
    assert found[0] == pytest.approx(min(values), abs=1e-12)
    assert len({json.dumps(trial["params"]) for trial in trials}) == len(trials)
    assert search(objective, SearchPlan(trials=40, processes=2), starts=starts, journal=journal) == found


@pytest.mark.parametrize(
    "spoil",
    [
        lambda _: "not a journal at all\n",
        lambda text: text.replace('"op_code":4', '"op_code":', 1),
        lambda text: '{"some":"json"}\n' + text,
    ],
    ids=["text", "broken line", "foreign line"],
)
def test_a_damaged_journal_is_refused(objective, journal, spoil):
    search(objective, SearchPlan(trials=20), journal=journal)
    journal.path.write_text(spoiled := spoil(journal.path.read_text()))
    with pytest.raises(UserError, match=r"study\.journal is damaged.*delete it and run the command again"):
        search(objective, SearchPlan(trials=30), journal=journal)
    assert journal.path.read_text() == spoiled


@pytest.mark.parametrize("sampler", ["tpe", "cmaes"])
def test_an_edited_journal_is_refused(objective, journal, sampler):
    search(objective, SearchPlan(sampler, trials=20), journal=journal)
    edited = lines(journal)
    entry = json.loads(edited[12])
    entry["value"] = 0.0001
    edited[12] = json.dumps(entry) + "\n"
    journal.path.write_text("".join(edited))
    with pytest.raises(UserError, match=r"study\.journal holds other (scores|trials).*delete it and blend again"):
        search(objective, SearchPlan(sampler, trials=20), journal=journal)


@contextmanager
def full_disk(size):
    """No file can grow beyond ``size`` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_stops_the_search_and_keeps_what_is_finished(objective, journal):
    expected = search(objective, SearchPlan(trials=40))
    with full_disk(8000), pytest.raises(UserError, match=r"disk is full.*free some space"):
        search(objective, SearchPlan(trials=40), journal=journal)
    done = len(lines(journal)) - 2  # without the study and the line that did not fit
    assert done > 5
    starts = baselines(objective)
    Counted.tried = 0
    assert search(objective, SearchPlan(trials=40), starts=starts, journal=journal) == expected
    assert Counted.tried <= 40 - done + 1


def test_greedy_climbs_with_replacement():
    target = np.array([600, 400, 0])
    found = climb(lambda weights: -np.abs(np.array(weights) - target).sum(), 3)
    assert found == (600, 400, 0)
    assert climb(lambda weights: float(weights[1]), 3) == (0, 1000, 0)


@pytest.mark.parametrize("sampler", ["greedy", "equal"])
def test_weights_without_a_search(objective, sampler):
    starts = baselines(objective)
    assert set(starts) == {"member 0", "member 1", "member 2", "member 3", EQUAL, GREEDY}
    assert search(objective, SearchPlan(sampler)) == starts[{"greedy": GREEDY, "equal": EQUAL}[sampler]]
    assert starts[GREEDY][0] <= min(value for value, _ in starts.values())
    assert starts[EQUAL][1].weights == (250,) * 4


@pytest.mark.parametrize("sampler", ["tpe", "cmaes"])
def test_a_search_finds_better_weights_than_its_starts(objective, sampler):
    starts = simple(objective)
    first, again, other = (search(objective, SearchPlan(sampler, 80, seed), starts=starts) for seed in (0, 0, 1))
    assert first[0] < starts[EQUAL][0] - 1e-3
    assert first == again
    assert first != other


def test_an_unknown_sampler_is_refused():
    with pytest.raises(UserError, match=r"sampler 'random' does not exist: choose one of tpe, cmaes, greedy, equal"):
        SearchPlan("random")
    with pytest.raises(UserError, match="at least 1"):
        SearchPlan(trials=0)
