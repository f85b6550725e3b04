"""Every file in exps/ is sound: the common checks that an experiment must pass before anybody trains it."""

from __future__ import annotations

import pytest

from exps.full_runs import BLENDS, MINUTES
from heldout import config
from heldout.errors import UserError
from heldout.tasks.check import run_checks
from heldout.train.dependencies import find_dependency


@pytest.mark.parametrize("name", config.names())
def test_experiment(name):
    assert [error for _, error in run_checks(name) if error is not None] == []


@pytest.mark.parametrize("name", config.names())
def test_what_an_experiment_depends_on_can_be_finished_under_every_budget(name):
    for budget in (None, *config.load(name).budgets):
        experiment = config.load(name, budget)
        if experiment.first_stage is not None:
            source = find_dependency(experiment, "first_stage")
            trained = f"{experiment.spec} depends on {source.spec}, which trains folds {source.fold_list} only"
            assert set(source.fold_list) == set(range(source.fold_count)), trained
        if experiment.warm_start is not None:
            source = find_dependency(experiment, "warm_start")
            trained = f"{experiment.spec} starts from {source.spec}, which lacks some of its folds or seeds"
            assert set(experiment.fold_list) <= set(source.fold_list), trained
            assert set(experiment.seeds) <= set(source.seeds), trained


@pytest.mark.parametrize("name", MINUTES)
def test_every_member_of_a_full_run_exists_and_shares_one_dataset(name):
    members = config.experiments(name)
    assert len({member.dataset for member in members}) == 1
    assert len({member.spec for member in members}) == len(members)
    trained = [member.spec for member in members]
    for place, member in enumerate(members):
        assert member.first_stage is None
        assert member.warm_start is None or find_dependency(member, "warm_start").spec in trained[:place]


def test_only_full_runs_are_blended():
    assert set(BLENDS) <= set(MINUTES)
    assert all(minutes > 0 for listed in MINUTES.values() for minutes in listed.values())


def test_a_family_is_a_root_experiment_with_its_descendants():
    assert [member.spec for member in config.experiments("exp026")] == ["exp026", "exp026_joint", "exp026_skip"]
    assert [member.spec for member in config.experiments("exp026", "quick")][1] == "exp026_joint@quick"
    assert config.load("exp042_warm").root_name() == "exp040"


def test_an_unknown_full_run_is_refused():
    with pytest.raises(UserError, match="no full run 'fracatlass': choose one of brain-mri, fracatlas"):
        config.experiments("fracatlass")


def test_every_earlier_name_means_an_experiment_of_today():
    from exps.aliases import ALIASES

    assert set(ALIASES.values()) <= set(config.names())
    assert not set(ALIASES) & set(config.names())
