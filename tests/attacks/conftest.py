"""A bundle as somebody else might hand it over."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from heldout.blend.apply import OpenDecision
from heldout.blend.decision import load_decision
from heldout.blend.session import Session
from heldout.deliver.kernel.bundle import write_bundle
from tests.finished_runs import TINY, finish_fit


@pytest.fixture(scope="session")
def written(indexed, tmp_path_factory) -> Path:
    """A bundle of a run."""
    home = shutil.copytree(indexed, tmp_path_factory.mktemp("written") / "home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HELDOUT_HOME", str(home))
        patch.delenv("HELDOUT_DATA", raising=False)
        for fold in (0, 1):
            finish_fit(TINY, 0, fold)
        session = Session()
        return write_bundle(OpenDecision(load_decision(TINY, session), session), home / "bundle").folder


@pytest.fixture
def bundle(written, home, tmp_path) -> Path:
    """A copy of the bundle, free to be spoiled, in an empty home."""
    return shutil.copytree(written, tmp_path / "bundle")
