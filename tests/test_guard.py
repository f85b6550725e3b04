"""The guard keeps datasets, weights and archives out of a commit, whatever they are called."""

from __future__ import annotations

import importlib.util

import pytest

from heldout.files import REPOSITORY


@pytest.fixture
def guard(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("guard", REPOSITORY / ".ci" / "guard.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "REPOSITORY", tmp_path)

    def run(name: str, content: bytes) -> int:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return module.main([name])

    return run


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("exps/weights.safetensors", b"x"),
        ("notes.txt", b"PK\x03\x04 a renamed archive"),
        ("scan", bytes(128) + b"DICM"),
        ("tests/case.nii.gz", b"x"),
        ("table.csv", b"1" * 1_000_001),
        ("working/runs/exp001/notes.txt", b"x"),
        ("figure.png", b"\x89PNG"),
        ("tests/blend/sealed_before/other.tar.xz", b"\xfd7zXZ\x00"),
    ],
)
def test_what_must_not_be_committed_is_refused(guard, capsys, name, content):
    assert guard(name, content) == 1
    assert name in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("src/a.py", b"x = 1\n"),
        ("input/README.md", b"# input\n"),
        ("docs/overlay.png", b"\x89PNG"),
        ("benchmarks/results/blend.png", b"\x89PNG"),
        ("tests/blend/sealed_before/masks.tar.xz", b"\xfd7zXZ\x00"),
        ("empty", b""),
    ],
)
def test_what_may_be_committed_passes(guard, name, content):
    assert guard(name, content) == 0
