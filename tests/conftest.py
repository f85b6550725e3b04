"""Fixtures and switches that every room's tests share."""

from __future__ import annotations

import os

# Before any library is imported: no test may ask the network, or wait for it.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"

from pathlib import Path

import pytest

pytest_plugins = ["tests.finished_runs"]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty ``HELDOUT_HOME`` of the test's own."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HELDOUT_HOME", str(folder))
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests on the public datasets where they are not at hand."""
    if "HELDOUT_DATA" in os.environ:
        return
    skip = pytest.mark.skip(reason="set HELDOUT_DATA to the folder of the public datasets")
    for item in items:
        if item.get_closest_marker("realdata"):
            item.add_marker(skip)
