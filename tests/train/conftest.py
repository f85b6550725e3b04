"""A toy dataset that a tiny network learns in a second."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.data import toy
from tests.train.exp901 import write_squares


@pytest.fixture
def squares(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """``HELDOUT_DATA`` with the dataset ``squares``; returns ``HELDOUT_HOME``."""
    folder = toy.install(monkeypatch, tmp_path).with_name("squares")
    write_squares(folder)
    (tmp_path / "home").mkdir()
    return tmp_path / "home"
