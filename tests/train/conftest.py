"""A toy dataset that a tiny network learns in a second."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.data import toy
from tests.train.exp901 import write_squares


@pytest.fixture
def squares(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """``HELDOUT_DATA`` with the dataset ``squares``; returns ``HELDOUT_HOME``."""
    folder = toy.install(monkeypatch, tmp_path).with_name("squares")
    write_squares(folder)
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.fixture
def experiments(squares: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Folder of an empty package ``exps`` of the test's own, for experiments on ``squares``; torch has one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    package = tmp_path / "package" / "exps"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    saved = {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] == "exps"}
    monkeypatch.syspath_prepend(str(package.parent))
    yield package
    for name in [name for name in sys.modules if name.partition(".")[0] == "exps"]:
        del sys.modules[name]
    sys.modules.update(saved)
    torch.set_num_threads(threads)
