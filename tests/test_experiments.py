"""Every file in exps/ is sound: the common checks that an experiment must pass before anybody trains it."""

from __future__ import annotations

import pytest

from heldout import config
from heldout.tasks.check import check_experiment


@pytest.mark.parametrize("name", config.names())
def test_experiment(name):
    check_experiment(name)


@pytest.mark.parametrize("name", config.names())
def test_a_child_differs_from_its_parent(name):
    experiment = config.load(name)
    parent = experiment.parent_name()
    if parent is not None:
        assert config.difference(config.load(parent).identity(), experiment.identity())
