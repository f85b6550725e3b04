"""The blend command: what it keeps, what it resumes from, and that a failure leaves the earlier blend whole."""

from __future__ import annotations

import resource

import pytest

from heldout import files
from heldout.blend.decision import read_decision
from heldout.blend.search import blend
from heldout.cli import run
from heldout.errors import UserError

PAIR = ["exp911", "exp912"]


def make(name="duo", specs=PAIR, trials=12, **options):
    return blend(specs, name, trials=trials, progress=False, **options)


def journal(runs, name="duo"):
    return runs / "working" / "blends" / name / "study.journal"


def test_the_same_command_goes_on_from_its_journal(runs):
    first = make(trials=8)
    recorded = journal(runs).read_text()
    assert recorded.count('"op_code":0') == 3  # a study of all folds, and one without each of the two
    assert make(trials=8).search == first.search
    assert journal(runs).read_text() == recorded
    torn = recorded[: len(recorded) // 2]
    journal(runs).write_text(torn)
    longer, fresh = make(trials=12), make("fresh", trials=12)
    assert (longer.search, longer.score, longer.thresholds) == (fresh.search, fresh.score, fresh.thresholds)


def test_other_members_do_not_go_on_from_it(runs):
    make()
    turned, fresh = make(specs=PAIR[::-1]), make("fresh", specs=PAIR[::-1])
    assert (turned.search, turned.weights) == (fresh.search, fresh.weights)
    assert journal(runs).read_text().count('"op_code":0') == 6


def test_a_foreign_journal_is_refused_and_nothing_is_overwritten(runs):
    before = make()
    journal(runs).write_text("this is something else\n")
    with pytest.raises(UserError, match=r"study\.journal is damaged or not the journal"):
        make(seed=1)
    assert read_decision("duo") == before
    assert journal(runs).read_text() == "this is something else\n"


def test_a_full_disk_leaves_the_earlier_blend_whole(runs):
    before = make()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            make(sampler="equal")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert read_decision("duo") == before
    for name, digest in before.tables.items():
        assert files.sha256_file(before.folder / f"{name}.parquet") == digest
    assert not list(before.folder.glob(".*.part"))


def test_the_command_shows_what_is_simpler_beside_the_tuned_weights(runs, capsys):
    assert run(["blend", *PAIR, "--name", "duo", "--trials", "6", "--sampler", "cmaes", "--seed", "2"]) == 0
    shown = capsys.readouterr().out
    for what in ("exp911", "exp912", "equal weights", "greedy", "tuned", "in-sample", "cross-fitted"):
        assert what in shown
    search = read_decision("duo").search
    assert (search.sampler, search.trials, search.seed, search.processes) == ("cmaes", 6, 2, 1)
    assert set(search.baselines) == {"exp911", "exp912", "equal weights", "greedy", "tuned"}


def test_an_unknown_sampler_is_one_sentence(runs, capsys):
    assert run(["blend", *PAIR, "--name", "duo", "--sampler", "annealing"]) == 2
    assert "sampler 'annealing' does not exist: choose one of tpe, cmaes, greedy, equal" in capsys.readouterr().err
