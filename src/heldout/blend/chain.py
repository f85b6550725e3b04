"""An append-only record whose entries are chained by hashes: changing or removing one breaks the chain.

Each line of ``working/ledger.jsonl`` holds the hash of the line before. A second file remembers how many there are, so
that lines cut off the end are missed too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

from pydantic import Field

from heldout import files
from heldout.errors import UserError
from heldout.records import Number, Record, parse_json, parse_record, parse_value, read_record

START = "0" * 64


class Evaluation(Record):
    """An evaluation of a test part, on record before its score is seen.

    Attributes:
        number: Its place in the ledger, from 1.
        time: UTC.
        name: Name of the decision.
        decision: Its seal, or identity.
        sealed: It was frozen.
        dataset, data_hash: What was predicted.
        metric: Name of the score.
        predictions_sha256: SHA-256 of the stored predictions.
        reason: Why a further evaluation was needed; None of a first one.
        decision_evals: Evaluations of this decision, this one included.
        dataset_evals: Evaluations on any of its cases, this one included.
        content: Hash of the image of every case, sorted; earlier entries lack it, and count by their dataset's name.
        sketches: Sketch of the image of every case, sorted, by which it is known after small changes; see
            :func:`heldout.data.signature.sketch`. Earlier entries lack them.
    """

    event: Literal["look"] = "look"
    number: int = Field(alias="look")
    time: str
    name: str
    decision: str
    sealed: bool
    dataset: str
    data_hash: str
    metric: str
    predictions_sha256: str
    reason: str | None = Field(alias="look_again")
    decision_evals: int = Field(alias="looks_of_decision")
    dataset_evals: int = Field(alias="looks_of_dataset")
    content: tuple[str, ...] | None = None
    sketches: tuple[str, ...] | None = None
    optional: ClassVar[frozenset[str]] = frozenset({"content", "sketches"})


class EvaluationResult(Record):
    """The score of an evaluation, with its interval; None where undefined."""

    event: Literal["result"] = "result"
    number: int = Field(alias="look")
    score: Number | None
    low: Number | None
    high: Number | None
    cases: int


class Link(Record):
    """How a line is chained: the hash of the line before, and its own."""

    previous: str
    hash: str


class Head(Record):
    """``head.json``: how many entries the ledger has, and the hash of the last."""

    schema_version: int = Field(default=1, alias="schema")
    entries: int = 0
    hash: str = START


@dataclass(frozen=True)
class LedgerEntry:
    """An evaluation with its result; None where it ended before."""

    evaluation: Evaluation
    result: EvaluationResult | None


Entry = Evaluation | EvaluationResult
AnyEntry = TypeVar("AnyEntry", Evaluation, EvaluationResult)
_RESTORE = "restore the ledger from a copy; nothing can be tested before that"


def ledger_path() -> Path:
    """The ledger."""
    return files.home() / "working" / "ledger.jsonl"


def read_entries() -> list[Entry]:
    """All entries, verified.

    Raises:
        UserError: a line was changed, removed or cut, or is not an entry of this version; names it.
    """
    return [_parse(line, number) for number, line in enumerate(_read_lines()[0], start=1)]


def _read_lines() -> tuple[list[dict[str, Any]], str]:
    """The lines as they are, which the hashes are made of, verified, and the hash of the last."""
    path, head = ledger_path(), _head_path()
    data = path.read_bytes() if path.exists() else b""
    entries: list[dict[str, Any]] = []
    links = [Link(previous="", hash=START)]
    for number, line in enumerate(data.splitlines(), start=1):
        try:
            entry = parse_json(line, "a line", "")
            link = parse_value(line, "a line", Link, "")
        except UserError:
            entry, link = {}, links[0]
        if link.hash != _digest(entry) or link.previous != links[-1].hash:
            what = "is cut off" if number == data.count(b"\n") + 1 else "was changed, or a line before it was removed"
            raise UserError(f"{path} line {number} {what}: {_RESTORE}")
        links.append(link)
        entries.append(entry)
    known = read_record(head, Head, 1, _RESTORE) if head.exists() else Head()
    if not 0 <= known.entries <= len(entries) or links[known.entries].hash != known.hash:
        raise UserError(
            f"{path} holds {len(entries)} entries and should begin with {known.entries} others: lines were removed; "
            f"{_RESTORE}"
        )
    return entries, links[-1].hash


def append(make: Callable[[list[Entry]], AnyEntry]) -> AnyEntry:
    """Add one entry, durably, while no other process can.

    Args:
        make: Given all earlier entries, returns the new one, or raises to add nothing.

    Returns:
        The entry as written.
    """
    with files.lock(_head_path().parent, "writing the ledger", wait=True):
        earlier: list[dict[str, Any]]
        earlier, last = _read_lines()
        entry = make([_parse(line, number) for number, line in enumerate(earlier, start=1)])
        new = {"schema": 1, **entry.to_json(), "previous": last}
        digest = _digest(new)
        lines = [json.dumps(line, allow_nan=False) + "\n" for line in [*earlier, {**new, "hash": digest}]]
        # Written as a whole, so that a full disk or a kill leaves the old ledger, never a torn line.
        files.write_text(ledger_path(), "".join(lines))
        files.write_json(_head_path(), Head(entries=len(lines), hash=digest).to_json())
    return entry


def evaluations_on(
    entries: Sequence[Evaluation], dataset: str, content: Collection[str] = (), sketches: Collection[str] = ()
) -> list[Evaluation]:
    """Evaluations on a dataset, or on any case that one of its evaluations shares, or that is given.

    Args:
        entries: Evaluations to choose from.
        dataset: Name of the dataset.
        content: Hashes of further cases.
        sketches: Sketches of further cases: a case whose image was changed a little is the same case.
    """
    named = [one for one in entries if one.dataset == dataset]
    cases = {*content, *(case for one in named for case in one.content or ())}
    looks = {*sketches, *(look for one in named for look in one.sketches or ())}

    def shares(one: Evaluation) -> bool:
        if not cases.isdisjoint(one.content or ()) or not looks.isdisjoint(one.sketches or ()):
            return True
        if not looks or not one.sketches:
            return False
        from heldout.data.signature import any_alike

        return any_alike(looks, one.sketches)

    return [one for one in entries if one in named or shares(one)]


def _parse(line: dict[str, Any], number: int) -> Entry:
    kind: type[Entry] = EvaluationResult if line.get("event") == "result" else Evaluation
    return parse_record(json.dumps(line).encode(), f"{ledger_path()} line {number}", kind, 1, _RESTORE)


def _head_path() -> Path:
    return ledger_path().parent / ".ledger" / "head.json"


def _digest(entry: dict[str, Any]) -> str:
    return files.sha256_json({key: value for key, value in entry.items() if key != "hash"})
