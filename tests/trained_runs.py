"""Real runs of very small networks: trained once, copied for each test."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

EXPERIMENTS = Path(__file__).parent / "blend" / "experiments"


@pytest.fixture(scope="session")
def known_experiments():
    import exps

    exps.__path__.append(str(EXPERIMENTS))
    yield
    exps.__path__.remove(str(EXPERIMENTS))


@pytest.fixture(scope="session")
def trained(known_experiments, tmp_path_factory) -> Path:
    """A home with two finished folds of every experiment."""
    import torch

    from heldout.config import load
    from heldout.data.cases import open_dataset
    from heldout.train.fit import fit_fold

    folder, threads = tmp_path_factory.mktemp("trained") / "home", torch.get_num_threads()
    folder.mkdir()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HELDOUT_HOME", str(folder))
        patch.delenv("HELDOUT_DATA", raising=False)
        for spec in ("exp911", "exp912", "exp913", "exp914", "exp915"):
            config = load(spec)
            dataset = open_dataset(config)
            for seed in config.seeds:
                for fold in range(2):
                    fit_fold(config, dataset, fold, seed, quiet=True)
    torch.set_num_threads(threads)
    return folder


@pytest.fixture
def runs(trained, tmp_path, monkeypatch) -> Path:
    """A copy of the trained home, free to be spoiled."""
    home = tmp_path / "home"
    shutil.copytree(trained, home)
    monkeypatch.setenv("HELDOUT_HOME", str(home))
    monkeypatch.delenv("HELDOUT_DATA", raising=False)
    return home
