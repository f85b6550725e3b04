"""Scores shown by a competition, typed in by hand, and how well out-of-fold scores predict them.

``working/public_scores.jsonl`` holds one JSON object a line, oldest first, and is only ever added to:

| field | what |
|---|---|
| schema | 1 |
| time | when it was typed in, UTC |
| name | run or blend |
| identity | SHA-256 of what it was then: the seal of a blend; empty where it could not be told |
| dataset, data_hash, metric, score | what its out-of-fold score was then, and on what |
| public, private | the scores shown; null where not given |
| note | free text, or null |
| submission, submission_sha256 | the submission file at that time; null where there was none |
"""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

from heldout import files
from heldout.config.legacy import today_spec
from heldout.errors import UserError
from heldout.evaluate.row import Row, groups, ranked

Entry = dict[str, Any]
FEWEST = 3  # two points always correlate by 1 or -1

_KEYS = {
    *("schema", "time", "name", "identity", "dataset", "data_hash", "metric", "score", "public", "private", "note"),
    *("submission", "submission_sha256"),
}


def public_scores_path() -> Path:
    """The file."""
    return files.home() / "working" / "public_scores.jsonl"


def note_score(row: Row, public: float | None, private: float | None, note: str | None = None) -> Entry:
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
    entry = {
        "schema": 1,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        **{key: getattr(row, key) for key in ("name", "identity", "dataset", "data_hash", "metric", "score")},
        "public": public,
        "private": private,
        "note": note,
        "submission": row.submission,
        "submission_sha256": files.sha256_file(submission) if submission else None,
    }
    with files.lock(path.parent / ".public_scores", "noting a score", wait=True):
        lines = [json.dumps(line, allow_nan=False) + "\n" for line in [*read_public_scores(), entry]]
        # Written as a whole, so that a full disk or a kill leaves the old file, never a torn line.
        files.write_text(path, "".join(lines))
    return entry


def read_public_scores() -> list[Entry]:
    """All entries, oldest first.

    Raises:
        UserError: a line is not such an entry; names it.
    """
    path = public_scores_path()
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    entries = []
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            entry = json.loads(line, parse_constant=_refuse)
            whole = isinstance(entry, dict) and entry.keys() >= _KEYS and entry["schema"] == 1
            whole = whole and all(isinstance(entry[key], int | float | None) for key in ("public", "private"))
        except ValueError:
            whole = False
        if not whole:
            raise UserError(
                f"{path} line {number} is not an entry as `python run.py lb` writes it: fix or delete the line"
            )
        entries.append(entry)
    return entries


def add_public_scores(rows: list[Row]) -> None:
    """Add to every row the last scores noted for its current version, and their correlation with out-of-fold scores.

    Raises:
        UserError: the file is damaged.
    """
    entries = read_public_scores()
    for row in rows:
        mine = [entry for entry in entries if today_spec(entry["name"]) == row.name]
        current = [entry for entry in mine if row.identity and entry["identity"] == row.identity]
        row.public_outdated = bool(mine) and not current
        for entry in current:
            for key in ("public", "private"):
                if entry[key] is not None:
                    setattr(row, key, entry[key])
            row.public_time, row.public_note = entry["time"], entry["note"] or row.public_note
    for members in groups(rows).values():
        found = {part: correlate(points(members, part)) for part in ("public", "private")}
        noted = {part for part in found if any(getattr(row, part) is not None for row in members)}
        for row in members:
            row.lb_correlation = {part: found[part] for part in found if part in noted}


def points(rows: list[Row], part: str) -> list[tuple[float, float]]:
    """Out-of-fold score and score shown for one part, of the ranked rows that have both.

    Rows that are not ranked stand on other cases, or are much smaller: a single outlier would inflate the correlation.
    """
    pairs = ((row.score, getattr(row, part)) for row in rows if ranked(row))
    return [(score, shown) for score, shown in pairs if score is not None and shown is not None]


def correlate(pairs: list[tuple[float, float]]) -> dict[str, float | int | None]:
    """Agreement of two scores.

    Returns:
        ``n``, ``pearson``, and ``spearman`` (Pearson's on ranks, ties sharing theirs); None for fewer than three pairs
        or where one of the scores is always the same.
    """
    first, second = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    if len(pairs) < FEWEST:
        return {"n": len(pairs), "pearson": None, "spearman": None}
    return {"n": len(pairs), "pearson": _pearson(first, second), "spearman": _pearson(_ranks(first), _ranks(second))}


def _pearson(first: list[float], second: list[float]) -> float | None:
    from statistics import correlation

    if len(set(first)) == 1 or len(set(second)) == 1:  # a constant has no correlation
        return None
    return correlation(first, second)


def _ranks(values: list[float]) -> list[float]:
    """Rank of each value from 0; equal ones get the mean of their ranks."""
    return [sum(other < value for other in values) + (values.count(value) - 1) / 2 for value in values]


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not a number")
