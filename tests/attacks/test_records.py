"""Item 7: damaged, deeply nested and wrongly typed records: each is read, or refused in one sentence."""

from __future__ import annotations

import contextlib
import json
import os

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from heldout import files
from heldout.blend import chain, ledger
from heldout.blend import decision as decision_module
from heldout.blend.decision import read_decision
from heldout.blend.freeze import freeze
from heldout.blend.label_objective import LabelObjective
from heldout.blend.search import blend
from heldout.blend.study import SearchPlan
from heldout.blend.weights import search
from heldout.cli import run
from heldout.config import load
from heldout.data.cases import open_dataset
from heldout.deliver.kernel.bundle import check_trust, read_bundle
from heldout.errors import UserError
from heldout.escape import visible
from heldout.evaluate.collect import collect
from heldout.journal import Journal
from heldout.records import read_record
from heldout.train import minutes, pseudo, runs
from heldout.train.record import read_config, read_run
from tests.finished_runs import TINY, finish, indexed

__all__ = ["finish", "indexed"]
COUNT = int(os.environ.get("HELDOUT_FUZZ", "100"))  # inputs of each kind; `make bench` asks for more
FRAME = pd.DataFrame(
    {"case_id": list("abcdefgh"), "patient_id": list("abcdefgh"), "fold": [0, 1] * 4, "y_a": [0, 1] * 4}
)
LABELS = LabelObjective(FRAME, ("a",), "f1", np.random.default_rng(0).random((2, 8, 1)), False)
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
        text = visible(str(error))  # as it is shown
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
        (b"{}", "has a missing or wrong"),
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


def fuzzed(example, check, least: int = COUNT) -> None:
    """Pass so many damaged inputs to a check."""
    settings(max_examples=least, deadline=None, suppress_health_check=list(HealthCheck))(given(example)(check))()


def spoiled(data: bytes):
    """The bytes of a file with some of them replaced, inserted or gone, or with its end cut off."""
    places = st.integers(0, max(len(data) - 1, 0))
    changed = st.builds(
        lambda place, new, gone: data[:place] + new + data[place + gone :],
        places,
        st.binary(max_size=6),
        st.integers(0, 6),
    )
    return changed | places.map(lambda end: data[:end])


def said_in_a_sentence(read) -> None:
    """Let it read; what it refuses, it refuses in one sentence."""
    said = ""
    try:
        read()
    except UserError as error:
        said = visible(str(error))  # as it is shown
    assert len(said.splitlines()) <= 1


@pytest.fixture
def blended(finish):
    """A blend of two seeds, with the bytes of its decision."""
    spec = finish(TINY, seeds=(0, 1), folds=(0, 1))
    decision = blend([f"{spec}/seed0", f"{spec}/seed1"], "duo", trials=3, progress=False)
    return decision.folder / "decision.json"


def test_a_damaged_record_of_a_decision_is_read_or_refused_in_a_sentence(blended):
    """Also where its digest was made anew, so that only the contents can be wrong."""
    stored = json.loads(blended.read_text())

    def check(data, renew):
        with contextlib.suppress(ValueError, RecursionError, TypeError):
            value = json.loads(data)
            if renew and isinstance(value, dict):
                data = json.dumps({**value, "digest": decision_module._digest(value)}).encode()
        blended.write_bytes(data)
        refused_in_a_sentence(lambda: read_decision("duo"), blended)
        said_in_a_sentence(lambda: leaderboard_row("duo"))

    example = settings(max_examples=COUNT, deadline=None, suppress_health_check=list(HealthCheck))
    example(given(damaged(stored), st.booleans())(check))()


def leaderboard_row(name: str):
    """What the leaderboard shows of a blend."""
    return next(row for row in collect() if row.name == name)


def test_a_damaged_record_of_the_ledger_is_read_or_refused_in_a_sentence(home):
    entry = chain.Evaluation(
        number=1, time="2026-01-01T00:00:00Z", name="duo", decision="0", sealed=True, dataset="tiny", data_hash="1",
        metric="roc_auc", predictions_sha256="2", reason=None, decision_evals=1, dataset_evals=1, content=("3", "4"),
    )  # fmt: skip
    chain.append(lambda _: entry)
    chain.append(lambda _: chain.EvaluationResult(number=1, score=0.5, low=None, high=None, cases=4))
    path, head = chain.ledger_path(), chain.ledger_path().parent / ".ledger" / "head.json"
    whole, ends = path.read_bytes(), head.read_bytes()
    lines = whole.splitlines(keepends=True)

    def check_line(data):
        path.write_bytes(data.replace(b"\n", b" ") + b"\n" + lines[1])
        said_in_a_sentence(ledger.read_ledger)

    def check_bytes(data):
        path.write_bytes(data)
        said_in_a_sentence(ledger.read_ledger)

    def check_head(data):
        path.write_bytes(whole)
        head.write_bytes(data)
        said_in_a_sentence(ledger.read_ledger)

    fuzzed(damaged(json.loads(lines[0])), check_line)
    fuzzed(spoiled(whole), check_bytes)
    fuzzed(damaged(json.loads(ends)), check_head)


@pytest.mark.parametrize("name", ["folds.csv", "cases.parquet", "sealed.parquet", "raw_files.csv", "index.json"])
def test_a_damaged_record_of_the_split_is_read_or_refused_in_a_sentence(finish, name):
    config = load(finish(TINY, seeds=(0,), folds=(0,)))
    path = open_dataset(config).folder / name
    data = path.read_bytes()

    def check(changed):
        path.write_bytes(changed)
        said_in_a_sentence(lambda: open_dataset(config))

    fuzzed(spoiled(data), check, max(COUNT // 5, 20))


def test_a_damaged_record_of_a_bundle_is_read_or_refused_in_a_sentence(bundle):
    path = bundle / "bundle.json"
    stored = json.loads(path.read_text())

    def check(data):
        path.write_bytes(data)
        said_in_a_sentence(lambda: check_trust(read_bundle(bundle), accept=False))

    fuzzed(damaged(stored), check)


def test_a_damaged_record_of_trusted_code_is_read_or_refused_in_a_sentence(bundle, home):
    path = home / "working" / "trusted.json"
    (bundle / "exps" / "exp777.py").write_text("VALUE = 1\n")
    manifest = json.loads((bundle / "bundle.json").read_text())
    manifest["files"]["exps/exp777.py"] = files.sha256_file(bundle / "exps" / "exp777.py")
    files.write_json(bundle / "bundle.json", manifest)
    check_trust(read_bundle(bundle), accept=True)
    stored, found = json.loads(path.read_text()), read_bundle(bundle)

    def check(data):
        path.write_bytes(data)
        said_in_a_sentence(lambda: check_trust(found, accept=False))

    fuzzed(damaged(stored) | VALUES.map(lambda value: json.dumps(value).encode()), check)


def test_a_damaged_record_of_a_study_is_read_or_refused_in_a_sentence(tmp_path):
    path = tmp_path / "study.journal"
    search(LABELS, SearchPlan(trials=4), journal=Journal(path, "0" * 64))
    data = path.read_bytes()

    def check(changed):
        path.write_bytes(changed)
        said_in_a_sentence(lambda: search(LABELS, SearchPlan(trials=4), journal=Journal(path, "0" * 64)))

    fuzzed(spoiled(data), check, max(COUNT // 2, 50))


@pytest.mark.parametrize("name", ["oof.parquet", "in_sample.parquet"])
def test_a_damaged_record_of_predictions_is_noticed(blended, name):
    path = blended.parent / name
    data = path.read_bytes()

    def check(changed):
        path.write_bytes(changed)
        leaderboard_row("duo")  # of an earlier check, or with what is wrong
        with pytest.raises(UserError, match=rf"{name} changed"):
            freeze("duo")

    fuzzed(st.one_of(st.just(data[:-1]), spoiled(data)).filter(lambda changed: changed != data), check, 10)


def test_a_trial_that_never_ended_does_not_belong_in_a_journal(tmp_path):
    path = tmp_path / "study.journal"
    search(LABELS, SearchPlan(trials=2), journal=Journal(path, "0" * 64))
    changed = path.read_text().replace('"state": 1', '"state": 0').replace('"state":1', '"state":0')
    assert changed != path.read_text()
    path.write_text(changed)
    with pytest.raises(UserError, match=r"study\.journal is damaged"):
        search(LABELS, SearchPlan(trials=2), journal=Journal(path, "0" * 64))
