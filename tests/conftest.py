"""Fixtures and switches that every room's tests share."""

from __future__ import annotations

import os

# Before any library is imported: no test may ask the network, or wait for it.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"

import importlib
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from heldout.errors import note

# A background job of a shell ignores an interrupt, and would hand that down to every command that a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = ["tests.finished_runs", "tests.trained_runs"]


@pytest.fixture(autouse=True)
def _notes_are_new() -> None:
    """A note is printed once by a command, not once by all tests."""
    note.cache_clear()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty ``HELDOUT_HOME`` of the test's own."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HELDOUT_HOME", str(folder))
    return folder


@pytest.fixture
def own_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """A function that writes ``exps/metrics.py``, or another module beside the experiments, anew."""
    import exps

    folder = tmp_path / "own"
    folder.mkdir()
    monkeypatch.setattr(exps, "__path__", [*exps.__path__, str(folder)])
    names: set[str] = set()

    def forget(name: str) -> None:
        names.add(name)
        sys.modules.pop(f"exps.{name}", None)
        vars(exps).pop(name, None)
        importlib.invalidate_caches()

    def write(text: str, name: str = "metrics") -> None:
        forget(name)
        (folder / f"{name}.py").write_text(text, encoding="utf-8")

    yield write
    for name in list(names):
        forget(name)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests on the public datasets where they are not at hand."""
    if "HELDOUT_DATA" in os.environ:
        return
    skip = pytest.mark.skip(reason="set HELDOUT_DATA to the folder of the public datasets")
    for item in items:
        if item.get_closest_marker("realdata"):
            item.add_marker(skip)
