"""Damaged, deeply nested and wrongly typed records of runs: each is read, or refused in one sentence."""

from __future__ import annotations

import json
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from heldout import files
from heldout.cli import run
from heldout.errors import UserError
from heldout.records import read_record
from heldout.train import minutes, pseudo, runs
from heldout.train.record import read_config, read_run
from tests.finished_runs import TINY, finish, indexed

__all__ = ["finish", "indexed"]
COUNT = int(os.environ.get("HELDOUT_FUZZ", "100"))  # inputs of each kind; `make bench` asks for more
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def places(value, path=()):
    """Paths of everything in a record."""
    yield path
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from places(value[key], (*path, key))


@st.composite
def damaged(draw, stored):
    """The bytes of a record of which one value is replaced or gone, or whose bytes are changed."""
    way = draw(st.sampled_from(("value", "gone", "deep", "bytes")))
    copy = json.loads(json.dumps(stored))
    *above, last = draw(st.sampled_from([path for path in places(copy) if path]))
    holder = copy
    for key in above:
        holder = holder[key]
    if way == "gone":
        del holder[last]
    elif way == "value":
        holder[last] = draw(VALUES)
    data = json.dumps(copy).encode()
    if way == "deep":
        depth = draw(st.integers(50, 100_000))
        data = data[:-1] + b', "deep": ' + b"[" * depth + b"]" * depth + b"}"
    if way == "bytes":
        place, new = draw(st.integers(0, len(data) - 1)), draw(st.binary(max_size=6))
        data = data[:place] + new + data[place + draw(st.integers(0, 6)) :]
    return data


def refused_in_a_sentence(read, path) -> None:
    text = path.name
    try:
        read()
    except UserError as error:
        text = str(error)
    assert path.name in text
    assert len(text.splitlines()) == 1


STORED = {
    "minutes.json": {
        "schema": 1,
        **{"spec": "exp001", "fingerprint": "0" * 64, "minutes": 20, "epochs": 3, "steps": 9, "step_seconds": 0.5},
        **{"machine": "a processor", "measured": "2026-01-01"},
    },
    "pseudo.json": {
        "schema": 1,
        **{"name": "extra", "spec": "exp001", "checkpoint": "last", "confidence": 0.9, "classes": ["a"]},
        **{"fold_hash": "0", "data_hash": "1"},
        "folds": {
            "0": {"fits": [{"seed": 0, "sha256": "2"}], "cases": 3, "sha256": {"labels": "3", "cases": "4", "maps": {}}}
        },
    },
}
KINDS = {"minutes.json": minutes.MinutesRecord, "pseudo.json": pseudo.PseudoRecord}


@pytest.mark.parametrize("name", STORED)
def test_a_damaged_record_is_read_or_refused_in_a_sentence(name, tmp_path):
    path = tmp_path / name
    files.write_json(path, STORED[name])
    read_record(path, KINDS[name], 1, "delete it")

    @settings(max_examples=COUNT, deadline=None, suppress_health_check=list(HealthCheck))
    @given(damaged(STORED[name]))
    def check(data):
        path.write_bytes(data)
        refused_in_a_sentence(lambda: read_record(path, KINDS[name], 1, "delete it"), path)

    check()


@pytest.mark.parametrize(("name", "read"), [("run.json", read_run), ("config.json", read_config)])
def test_a_damaged_record_of_a_run_is_read_or_refused_in_a_sentence(finish, name, read):
    spec = finish(TINY, seeds=(0,), folds=(0,))
    folder = runs.fit_folder(spec, 0, 0)
    stored = json.loads((folder / name).read_text())

    @settings(max_examples=COUNT, deadline=None, suppress_health_check=list(HealthCheck))
    @given(damaged(stored))
    def check(data):
        (folder / name).write_bytes(data)
        refused_in_a_sentence(lambda: read(folder), folder / name)

    check()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"[" * 100_000 + b"]" * 100_000, "is not valid JSON"),
        (b"[]", "is not a JSON object as heldout writes it"),
        (b'{"schema": 9}', "was written by another version of heldout"),
        (b"{}", "lacks"),
        (b"\xff\xfe", "is not valid JSON"),
    ],
    ids=["nested", "list", "schema", "empty", "bytes"],
)
@pytest.mark.parametrize("name", ["run.json", "config.json"])
def test_commands_refuse_a_damaged_record_with_code_2(finish, capsys, name, data, message):
    spec = finish(TINY, seeds=(0,), folds=(0, 1))
    (runs.fit_folder(spec, 0, 1) / name).write_bytes(data)
    assert run(["train", spec, "--fold", "1", "--seed", "0"]) == 2
    text = capsys.readouterr().err
    assert message in text
    assert f"fold1/{name}" in text.replace("\n", "")
