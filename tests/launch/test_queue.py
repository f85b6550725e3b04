"""The queue on the disk, and the order in which it is trained."""

from __future__ import annotations

import json

import pytest

from heldout import files
from heldout.cli import run
from heldout.config import load
from heldout.errors import UserError
from heldout.launch import queue
from heldout.launch.forecast import forecast_fit
from heldout.launch.measure import record_path
from heldout.launch.plan import Fit
from heldout.launch.schedule import progress, schedule
from heldout.launch.worth import Worth, Worths
from heldout.train import runs
from tests.finished_runs import TINY
from tests.launch.test_forecast import measured


def test_what_is_added_twice_is_one_entry_of_both(home):
    queue.add("exp002", folds=(1,))
    queue.add("exp001", minutes=5)
    queue.add("exp002", folds=(0,), seeds=(0,))
    entries = queue.read_queue().entries
    assert [(one.spec, one.minutes, one.folds, one.seeds) for one in entries] == [
        ("exp001", 5, None, None),
        ("exp002", None, (0, 1), None),
    ]


def test_paused_experiments_wait(home):
    queue.add("exp001", folds=(0,), seeds=(0,))
    queue.pause("exp001")
    plan = schedule(queue.read_queue())
    assert plan.waiting == ()
    assert [one.fit for one in plan.paused] == [Fit("exp001", 0, 0)]
    queue.pause("exp001", paused=False)
    assert [one.fit for one in schedule(queue.read_queue()).waiting] == [Fit("exp001", 0, 0)]


def test_an_experiment_that_is_gone_hides_no_other(home):
    queue.add("exp999")
    queue.add("exp001", folds=(0,), seeds=(0,))
    plan = schedule(queue.read_queue())
    assert [one.fit.spec for one in plan.waiting] == ["exp001"]
    assert "exps/exp999.py does not exist" in plan.problems["exp999"]


def test_a_damaged_queue_is_named(home):
    queue.add("exp001")
    (queue.folder() / "queue.json").write_text('{"schema": 1, "entries": [{}]}')
    with pytest.raises(
        UserError, match=r"queue\.json has a missing or wrong .*spec.* delete it and add the experiments again"
    ):
        queue.read_queue()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["add", "exp999"], "exps/exp999.py does not exist"),
        (["add", "exp001", "--fold", "7"], "exp001 has no fold 7"),
        (["add", "exp001", "--set", "epochs=3", "--minutes", "5"], "leave out one of the two"),
        (["remove", "exp002"], "exp002 is not in the queue: it holds exp001"),
        (["pause", "exp002"], "exp002 is not in the queue: it holds exp001"),
        (["rum"], "did you mean `run`?"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_are_told(home, capsys, words, message):
    queue.add("exp001")
    assert run(["queue", *words]) == 2
    assert message in capsys.readouterr().err
    assert [entry.spec for entry in queue.read_queue().entries] == ["exp001"]


def test_nothing_of_a_wrong_list_is_added(home, capsys):
    assert run(["queue", "add", "exp001", "exp999"]) == 2
    assert queue.read_queue().entries == ()


@pytest.fixture
def three(finish):
    """A run that gained over another on fold 0, that other, and one that nothing is known of."""
    good = finish(f"{TINY},lr=0.1", seeds=(0,), folds=(0,), skill=3.0)
    poor = finish(TINY, seeds=(0,), folds=(0,), skill=0.2)
    return good, poor, load(f"{TINY},lr=0.2").spec


def test_the_gain_of_an_hour_is_that_over_the_best_other_experiment(three):
    good, poor, unknown = three
    scores = [float(runs.read_run(runs.fit_folder(spec, 0, 0)).score) for spec in (good, poor)]
    worths = Worths()
    assert worths.of(good).gain_per_hour == pytest.approx((scores[0] - scores[1]) / (75 / 3600))
    assert worths.of(good).minutes == 75 / 60
    assert worths.of(poor).gain_per_hour == 0
    assert worths.of(unknown) == Worth()


def test_the_unknown_comes_first_and_then_what_gains_most(three):
    good, poor, unknown = three
    for spec in (poor, good, unknown):
        queue.add(spec, folds=(0, 1), seeds=(0,))
    order = [(one.fit.spec, one.fit.fold) for one in schedule(queue.read_queue()).waiting]
    assert {spec for spec, _ in order[:2]} == {unknown}
    assert order[2:] == [(good, 1), (poor, 1)]


def test_the_time_left_is_that_of_the_epochs_left(three):
    fit = Fit(three[2], 0, 0)
    assert progress(fit, 0.0, Worth()).seconds is None
    folder = fit.folder()
    folder.mkdir(parents=True)
    (folder / "metrics.csv").write_text("epoch,train_loss,lr,seconds\n1,0.5,0.1,100.0\n2,0.4,0.1,100.0\n")
    far = progress(fit, 0.0, Worth())
    assert far.done == 2
    assert far.seconds == pytest.approx(100 * (far.epochs - 2), abs=5)


def test_the_list_says_what_waits_and_why(three, capsys):
    good, _, _ = three
    queue.add(good, folds=(1,), seeds=(0,))
    assert run(["queue"]) == 0
    out = capsys.readouterr().out
    assert "waits" in out
    assert "gain/h: expected" in out


def test_the_end_is_told_from_epochs_a_plan_or_a_list_and_else_as_the_least(three, capsys, monkeypatch):
    def rows():
        assert run(["queue", "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    good, _, unknown = three
    for spec in (unknown, good):
        queue.add(spec, folds=(1,), seeds=(0,))
    first, last = rows()
    assert (first["fit"], first["minutes"], first["ends"]) == (f"{unknown} seed 0 fold 1", None, None)
    assert (last["minutes"], last["ends"]) == (75 / 60, None)
    assert last["ends_after"] - first["ends_after"] == pytest.approx(75, abs=5)
    assert run(["queue"]) == 0
    assert "after " in capsys.readouterr().out

    monkeypatch.setattr("heldout.launch.lengths.listed_minutes_of", lambda name: 7.0 if name == unknown else None)
    assert [(row["minutes"], row["ends"] is None) for row in rows()] == [(7.0, False), (75 / 60, False)]

    config = load(unknown)
    plan = measured(spec=unknown, identity_hash=config.identity_hash())
    files.write_json(record_path(unknown), plan.to_json())
    assert rows()[0]["minutes"] == pytest.approx(forecast_fit(config, plan).seconds / 60)
    files.write_json(record_path(unknown), plan.model_copy(update={"identity_hash": "edited"}).to_json())
    assert rows()[0]["minutes"] == 7.0

    folder = Fit(unknown, 0, 0).folder()
    folder.mkdir(parents=True)
    (folder / "metrics.csv").write_text("epoch,train_loss,lr,seconds\n1,0.5,0.1,120.0\n")
    assert rows()[0]["minutes"] == 2 * config.epochs
