"""The commands around a search and a pack, as they are typed."""

from __future__ import annotations

import json

import pytest

from heldout.cli import run

SPEC = "exp004+dataset=tiny,epochs=1,source_options={'patients':40,'images_per_patient':1,'size':32}"


@pytest.mark.journey
def test_a_search_ends_with_values_and_the_next_command(home, monkeypatch, capsys):
    monkeypatch.delenv("HELDOUT_DATA", raising=False)
    assert run(["search", SPEC, "--trials", "2", "--inner-folds", "2"]) == 0
    text = capsys.readouterr().out
    assert "only its score is independent of them" in text
    assert "class Exp" in text
    best = json.loads(next((home / "working" / "searches").rglob("best.json")).read_text())
    assert f"--set lr={best['values']['lr']}" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["search", "exp030", "--fold", "9"], "exp030 has no fold 9: it has 0 ... 4"),
        (["search", "exp030", "--trials", "0"], "--trials"),
        (["search", "exp035"], "exp035 uses first_stage = 'exp030'"),
        (["pack", "exp001"], "missing option '--output'"),
        (["unpack", "nowhere.pack"], "nowhere.pack does not exist: name a file that `pack` wrote"),
        (["full", "hippocampi"], "no full run 'hippocampi'"),
        (["uncertainty", "exp001"], "exp001 has no finished fold"),
        (["explain", "exp004"], "exp004 has no finished fold"),
        (["profile", "exp999"], "exps/exp999.py does not exist"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_gets_one_sentence(home, monkeypatch, capsys, words, message):
    monkeypatch.delenv("HELDOUT_DATA", raising=False)
    assert run(words) == 2
    assert message in capsys.readouterr().err
