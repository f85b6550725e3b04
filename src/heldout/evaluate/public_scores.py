"""Scores shown by a competition, typed in by hand, and how well out-of-fold scores predict them.

``working/public_scores.jsonl`` holds one JSON object a line, oldest first, and is only ever added to.
"""

from __future__ import annotations

import json
import math
import time
from pathlib import Path

from pydantic import Field

from heldout import files
from heldout.config.legacy import today_spec
from heldout.errors import UserError
from heldout.evaluate.row import Correlation, Row, groups, ranked
from heldout.records import Number, Record, parse_record

FEWEST = 3  # two points always correlate by 1 or -1


class PublicScore(Record):
    """A line of ``public_scores.jsonl``.

    Attributes:
        time: When it was typed in, UTC.
        name: Run or blend.
        identity: SHA-256 of what it was then: the seal of a blend; empty where it is unknown.
        dataset, data_hash, metric, score: What its out-of-fold score was then, and on what.
        public, private: The scores shown; None where not given.
        note: Free text, or None.
        submission, submission_sha256: The submission file at that time; None where there was none.
    """

    schema_version: int = Field(default=1, alias="schema")
    time: str
    name: str
    identity: str
    dataset: str
    data_hash: str
    metric: str
    score: Number | None
    public: Number | None
    private: Number | None
    note: str | None
    submission: str | None
    submission_sha256: str | None


def public_scores_path() -> Path:
    """The file."""
    return files.home() / "working" / "public_scores.jsonl"


def note_score(row: Row, public: float | None, private: float | None, note: str | None = None) -> PublicScore:
    """Add the score that a competition showed for the current version of a run or blend.

    Args:
        row: The run or blend.
        public: Score on the public part, where shown.
        private: Score on the private part, where shown.
        note: Free text.

    Returns:
        The entry as written.

    Raises:
        UserError: no score is given, one is not finite, or the file is damaged.
    """
    if public is None and private is None:
        raise UserError(f"no score of {row.name} is given: add --public 0.81, or --private 0.80")
    for option, value in (("--public", public), ("--private", private)):
        if value is not None and not math.isfinite(value):
            raise UserError(f"{option} {value} is not finite: write a number such as 0.81")
    path = public_scores_path()
    submission = files.home() / row.submission if row.submission else None
    entry = PublicScore(
        time=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        **{key: getattr(row, key) for key in ("name", "identity", "dataset", "data_hash", "metric", "score")},
        public=public,
        private=private,
        note=note,
        submission=row.submission,
        submission_sha256=files.sha256_file(submission) if submission else None,
    )
    with files.lock(path.parent / ".public_scores", "noting a score", wait=True):
        lines = [json.dumps(one.to_json(), allow_nan=False) + "\n" for one in [*read_public_scores(), entry]]
        # Written as a whole, so that a full disk or a kill leaves the old file, never a torn line.
        files.write_text(path, "".join(lines))
    return entry


def read_public_scores() -> list[PublicScore]:
    """All entries, oldest first.

    Raises:
        UserError: a line is not such an entry; names it.
    """
    path = public_scores_path()
    lines = path.read_bytes().splitlines() if path.exists() else []
    remedy = "fix or delete the line that `python run.py lb` wrote"
    return [parse_record(line, f"{path} line {n}", PublicScore, 1, remedy) for n, line in enumerate(lines, start=1)]


def add_public_scores(rows: list[Row]) -> None:
    """Add to every row the last scores noted for its current version, and their correlation with out-of-fold scores.

    Raises:
        UserError: the file is damaged.
    """
    entries = read_public_scores()
    for row in rows:
        mine = [entry for entry in entries if today_spec(entry.name) == row.name]
        current = [entry for entry in mine if row.identity and entry.identity == row.identity]
        row.public_outdated = bool(mine) and not current
        for entry in current:
            row.public = row.public if entry.public is None else entry.public
            row.private = row.private if entry.private is None else entry.private
            row.public_time, row.public_note = entry.time, entry.note or row.public_note
    for members in groups(rows).values():
        found = {part: correlate(points(members, part)) for part in ("public", "private")}
        noted = {part for part in found if any(getattr(row, part) is not None for row in members)}
        for row in members:
            row.lb_correlation = {part: found[part] for part in found if part in noted}


def points(rows: list[Row], part: str) -> list[tuple[float, float]]:
    """Out-of-fold score and score shown for one part, of the ranked rows that have both.

    Rows that are not ranked have other cases, or are much smaller: a single outlier would inflate the correlation.
    """
    pairs = ((row.score, getattr(row, part)) for row in rows if ranked(row))
    return [(score, shown) for score, shown in pairs if score is not None and shown is not None]


def correlate(pairs: list[tuple[float, float]]) -> Correlation:
    """Agreement of two scores."""
    first, second = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    if len(pairs) < FEWEST:
        return Correlation(len(pairs))
    return Correlation(len(pairs), _pearson(first, second), _pearson(_ranks(first), _ranks(second)))


def _pearson(first: list[float], second: list[float]) -> float | None:
    from statistics import correlation

    if len(set(first)) == 1 or len(set(second)) == 1:  # a constant has no correlation
        return None
    return correlation(first, second)


def _ranks(values: list[float]) -> list[float]:
    """Rank of each value from 0; equal ones get the mean of their ranks."""
    return [sum(other < value for other in values) + (values.count(value) - 1) / 2 for value in values]
