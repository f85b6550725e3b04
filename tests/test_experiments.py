"""Every file in exps/ is sound: the common checks that an experiment must pass before anybody trains it."""

from __future__ import annotations

import pytest

from heldout import config
from heldout.tasks.check import check_experiment
from heldout.train.origin import find_origin


@pytest.mark.parametrize("name", config.names())
def test_experiment(name):
    check_experiment(name)


@pytest.mark.parametrize("name", config.names())
def test_a_child_differs_from_its_parent(name):
    experiment = config.load(name)
    parent = experiment.parent_name()
    if parent is not None:
        assert config.difference(config.load(parent).identity(), experiment.identity())


@pytest.mark.parametrize("name", config.names())
def test_what_an_experiment_stands_on_can_be_finished_under_every_budget(name):
    for budget in (None, *config.load(name).budgets):
        experiment = config.load(name, budget)
        if experiment.first_stage is not None:
            source = find_origin(experiment, "first_stage")
            trained = f"{experiment.spec} stands on {source.spec}, which trains folds {source.fold_list} only"
            assert set(source.fold_list) == set(range(source.fold_count)), trained
        if experiment.warm_start is not None:
            source = find_origin(experiment, "warm_start")
            trained = f"{experiment.spec} starts from {source.spec}, which lacks some of its folds or seeds"
            assert set(experiment.fold_list) <= set(source.fold_list), trained
            assert set(experiment.seeds) <= set(source.seeds), trained
