"""Sends subjects to a tracker, and remembers what of each was sent.

Nothing is lost. What was on its way when a process was killed is sent again, with the same steps and values.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from heldout import files
from heldout.errors import UserError
from heldout.records import Record, read_record
from heldout.track.read import KINDS, subjects
from heldout.track.subject import Subject
from heldout.track.trackers import Tracker, TrackerRun

SCHEMA = 1
LONGEST_PAUSE = 120.0  # seconds between two attempts at a tracker that fails


class Sent(Record):
    """What a destination has of a subject.

    Attributes:
        id: By which the tracker knows it; empty while it could not be opened.
        points, system: How many were sent.
        digest: Of what was settled; see :meth:`Subject.digest`.
        first: Of its first point; see :meth:`Subject.first`. Empty where there is none, and in earlier versions.
        error: Why the last attempt failed; empty where it did not.
    """

    id: str = ""
    points: int = 0
    system: int = 0
    digest: str = ""
    first: str = ""
    error: str = ""


class TrackRecord(Record):
    """``working/track/<tracker>/<key>.json``: what was sent of a subject, by destination."""

    schema_version: int = Field(default=SCHEMA, alias="schema")
    source: str
    sent: dict[str, Sent] = Field(default_factory=dict)


@dataclass(frozen=True)
class Unsent:
    """What a tracker lacks.

    Attributes:
        key: Of the subject.
        error: Why; empty where it was never tried.
    """

    key: str
    error: str


def state_path(tracker: str, key: str) -> Path:
    """Where it is kept what a tracker has of a subject."""
    return files.home() / "working" / "track" / tracker / f"{key}.json"


def read_state(path: Path) -> TrackRecord | None:
    """What was sent of a subject; None while nothing was asked for.

    Raises:
        UserError: the file is damaged.
    """
    return read_record(path, TrackRecord, SCHEMA, "delete it, and it is sent anew") if path.exists() else None


def known_sources(tracker: str) -> list[str]:
    """What a tracker was asked to keep."""
    folder = files.home() / "working" / "track" / tracker
    # beside what trackers write there of their own, as W&B does while it is offline
    paths = [path for kind in KINDS for path in sorted((folder / kind).rglob("*.json"))]
    states = [read_state(path) for path in paths]
    return list(dict.fromkeys(state.source for state in states if state is not None))


class Mirror:
    """Keeps a tracker up to date with the disk.

    Args:
        name: Name of the tracker.
        tracker: What is sent to.
    """

    def __init__(self, name: str, tracker: Tracker) -> None:
        self.name, self.tracker = name, tracker
        self.unsent: dict[str, Unsent] = {}
        self._sessions: dict[str, TrackerRun] = {}
        self._wait, self._due = 0.0, 0.0

    def look(self, sources: Iterable[str], *, final: bool) -> None:
        """Send what a tracker lacks; after a failure the next attempts come later, but always when ``final``."""
        if time.monotonic() < self._due and not final:
            return
        self.unsent = {}
        for source in sources:
            for subject in self._read(source, final):
                self._send(subject, final)
        self._wait = min(max(1.0, 2 * self._wait), LONGEST_PAUSE) if self.unsent else 0.0
        self._due = time.monotonic() + self._wait

    def close(self) -> None:
        """Let go of every run that is open."""
        for session in self._sessions.values():
            with contextlib.suppress(Exception):  # its state says what is missing
                session.close(finished=False)
        self._sessions.clear()

    def _read(self, source: str, final: bool) -> Iterator[Subject]:
        try:
            yield from subjects(source, final=final)
        except UserError as error:
            self.unsent[source] = Unsent(source, str(error))

    def _send(self, subject: Subject, final: bool) -> None:
        path = state_path(self.name, subject.key)
        path.parent.mkdir(parents=True, exist_ok=True)
        with files.lock(path.parent, f"sending {subject.key} to {self.name}", wait=True):
            state = read_state(path) or TrackRecord(source=subject.source)
            place = self.tracker.destination
            sent = state.sent.get(place, Sent())
            # an experiment has points once all its fits are finished, and none while another one is trained
            if subject.kind != "experiment" and _is_another(sent, subject):  # trained again
                self._sessions.pop(subject.key, None)
                sent = Sent()
            try:
                for step in self._steps(subject, sent, final):
                    files.write_json(path, _with(state, place, step).to_json())
            except Exception as error:  # a tracker may fail in any way, and stops nothing
                self._sessions.pop(subject.key, None)
                reason = " ".join(f"{type(error).__name__}: {error}".split())[:500]
                latest = (read_state(path) or state).sent.get(place, sent)
                failed = latest.model_copy(update={"error": reason})
                files.write_json(path, _with(state, place, failed).to_json())
                self.unsent[subject.key] = Unsent(subject.key, reason)

    def _steps(self, subject: Subject, sent: Sent, final: bool) -> Iterator[Sent]:
        """Send one kind of thing after the other; what was sent after each."""
        digest = subject.digest()
        counts = (len(subject.points), len(subject.system))
        if sent.id and not sent.error and (sent.points, sent.system, sent.digest) == (*counts, digest):
            return
        session = self._sessions.get(subject.key)
        if session is None:
            parent = None if subject.parent is None else self._id(subject.parent)
            session = self._sessions[subject.key] = self.tracker.open(subject, parent, sent.id or None)
            sent = sent.model_copy(update={"id": session.id, "error": ""})
            yield sent
        if points := subject.points[sent.points :]:
            session.log(points, subject.axis)
            sent = sent.model_copy(update={"points": len(subject.points), "first": subject.first()})
            yield sent
        if samples := subject.system[sent.system :]:
            session.log_system(samples)
            sent = sent.model_copy(update={"system": len(subject.system)})
            yield sent
        if subject.finished or final:
            if sent.digest != digest:
                session.settle(subject)
            self._sessions.pop(subject.key).close(finished=subject.finished)
            yield sent.model_copy(update={"digest": digest, "error": ""})

    def _id(self, key: str) -> str | None:
        state = read_state(state_path(self.name, key))
        sent = None if state is None else state.sent.get(self.tracker.destination)
        return None if sent is None else sent.id or None


def _with(state: TrackRecord, place: str, sent: Sent) -> TrackRecord:
    return state.model_copy(update={"sent": {**state.sent, place: sent}})


def _is_another(sent: Sent, subject: Subject) -> bool:
    """Whether what a tracker has is of an earlier training of a fold, or of an earlier search."""
    return sent.points > len(subject.points) or (sent.first not in ("", subject.first()) and sent.points > 0)
