"""Real runs of very small networks: trained once, copied for each test."""

from __future__ import annotations

import importlib
import shutil
import sys
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


@pytest.fixture
def add_hook(known_experiments, tmp_path, monkeypatch):
    """A function that appends a hook to a trained experiment's file."""
    import exps

    folder = tmp_path / "exps"
    shutil.copytree(EXPERIMENTS, folder)
    monkeypatch.setattr(exps, "__path__", [str(folder), *exps.__path__])
    known = {name: module for name, module in sys.modules.items() if name.startswith("exps.exp9")}

    def forget():
        for name in [name for name in sys.modules if name.startswith("exps.exp9")]:
            del sys.modules[name]
        importlib.invalidate_caches()

    def add(name: str, text: str) -> None:
        original = (EXPERIMENTS / f"{name}.py").read_text(encoding="utf-8")
        head = original.replace("import torch\n", "import numpy as np\nimport torch\n", 1)
        (folder / f"{name}.py").write_text(f"{head}\n{text}", encoding="utf-8")
        forget()

    yield add
    forget()
    sys.modules.update(known)
