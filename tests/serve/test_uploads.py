"""Folders of uploads."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

import pytest

from heldout.files import REPOSITORY
from heldout.serve.uploads import PrivateFolder, remove_leftovers

pytestmark = pytest.mark.extras


def test_left_over_folders_go_and_those_in_use_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    program = (
        "import os, tempfile\nfrom heldout.serve.uploads import PrivateFolder\n"
        f"tempfile.tempdir = {str(tmp_path)!r}\nprint(PrivateFolder().path, flush=True)\nos._exit(9)"
    )
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "src")}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    dead = done.stdout.strip()
    mine = PrivateFolder()
    assert {one.name for one in tmp_path.iterdir()} == {dead.rpartition("/")[2], mine.path.name}
    remove_leftovers()
    assert list(tmp_path.iterdir()) == [mine.path]
    mine.remove()
    assert not mine.path.exists()
