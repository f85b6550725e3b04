"""What ``predict`` has finished, case by case, so that the same command goes on where it was killed.

Every part of a folder, of which several commands may predict one each, has a log of its own below the output. The log
is gone once the table of all cases is written.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar

from pydantic import ValidationError

from heldout import files
from heldout.errors import InUse, UserError
from heldout.records import Record

FOLDER = ".predicting"
T = TypeVar("T")


class LoggedCase(Record):
    """A line of a log.

    Attributes:
        case_id: The case.
        status, note: As in ``predictions.csv``.
        scores: Probability of every class; None of a case that was skipped.
        uncertainty: Entropy, aleatoric and epistemic, where they were asked for.
        abstain: Why it is left to people, or nothing.
        detections: Rows of numbers, where something is detected.
        masks: Files of masks that were written.
        stamp: Of its files, see :func:`stamp_of`.
        members: Scores by every member, where cases are pooled.
    """

    case_id: str
    stamp: str
    status: str
    note: str
    scores: tuple[float, ...] | None = None
    uncertainty: tuple[float, float, float] | None = None
    abstain: str = ""
    detections: tuple[tuple[float, ...], ...] | None = None
    masks: int = 0
    members: tuple[tuple[float, ...], ...] = ()


@dataclass(frozen=True)
class Part:
    """One of several parts of a folder: every ``count``-th case or volume, from ``number`` on, which counts from 1."""

    number: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Part:
        """From ``2/8``.

        Raises:
            UserError: it is not a part.
        """
        match = re.fullmatch(r"(\d+)/(\d+)", text)
        if match is None or not 1 <= int(match[1]) <= int(match[2]):
            raise UserError(f"--part {text!r} is not a part of a folder: write the second of eight as 2/8")
        return cls(int(match[1]), int(match[2]))

    def of(self, items: list[T]) -> list[T]:
        """What belongs to it."""
        return items[self.number - 1 :: self.count]

    def __str__(self) -> str:
        return f"{self.number} of {self.count}"


class CaseLog:
    """The logs of a folder that is being predicted.

    Args:
        output: Where predictions are written.
        key: What they depend on.
    """

    def __init__(self, output: Path, key: str) -> None:
        self.folder, self.key = output / FOLDER, key

    def refuse_others(self, *, force: bool) -> None:
        """Refuse an output in which another command has predicted cases, or with ``force`` forget that.

        Raises:
            UserError: it was begun with another decision, input or options, or runs at this moment.
        """
        others = [path for path in self.folder.glob("*") if path.name != self.key]
        if any(files.is_locked(part) for path in others for part in path.glob("part*")):
            raise UserError(
                f"{self.folder.parent} is in use by another prediction: wait for it to end, stop it, or choose another "
                "output"
            )
        if not force and any(log.stat().st_size for path in others for log in path.glob("*/cases.jsonl")):
            raise UserError(
                f"{self.folder.parent} holds the beginning of another prediction, with another decision, input or "
                "options: run that command again, choose another output, or add --force"
            )
        for path in others:
            shutil.rmtree(path, ignore_errors=True)  # another part may do so at the same time

    def read(self, stamps: Mapping[str, str]) -> dict[str, LoggedCase]:
        """The finished cases of all parts by their id, as far as their files are those of today.

        Args:
            stamps: By case id, see :func:`stamp_of`.
        """
        found: dict[str, LoggedCase] = {}
        for path in sorted(self.folder.glob(f"{self.key}/*/cases.jsonl")):
            for line in path.read_bytes().splitlines():
                try:
                    case = LoggedCase.model_validate(json.loads(line), strict=False)
                except (ValueError, ValidationError):
                    continue  # a kill cut it off
                if stamps.get(case.case_id) == case.stamp:
                    found[case.case_id] = case
        return found

    @contextmanager
    def open(self, part: Part) -> Iterator[IO[str]]:
        """The log of a part, to which one process at a time adds; gone again if it fails before the first case.

        Raises:
            UserError: another process predicts this part.
        """
        folder = self.folder / self.key / f"part{part.number}of{part.count}"
        path, new = folder / "cases.jsonl", [one for one in folder.parents if not one.exists()]
        try:
            with files.lock(folder, f"predicting part {part}"):
                if path.exists() and not path.read_bytes().endswith(b"\n"):
                    path.write_bytes(path.read_bytes().rpartition(b"\n")[0] + b"\n")
                with open(path, "a", encoding="utf-8") as handle:
                    yield handle
        except InUse:
            raise
        except BaseException:
            if path.exists() and not path.stat().st_size:
                shutil.rmtree(folder)
                with suppress(OSError):  # other parts are there
                    for one in new:
                        one.rmdir()
            raise

    def add(self, handle: IO[str], case: LoggedCase) -> None:
        """Write a finished case down."""
        handle.write(json.dumps(case.to_json()) + "\n")
        handle.flush()

    @contextmanager
    def finish(self, handle: IO[str]) -> Iterator[None]:
        """What a part does at its end, one part after the other, so that the last of them sees the cases of all."""
        os.fsync(handle.fileno())
        with self._alone():
            yield

    def remove(self) -> None:
        """Everything is in the table; a part that is still about to see that removes it."""
        with self._alone():
            if not any(files.is_locked(part) for part in self.folder.glob(f"{self.key}/part*")):
                shutil.rmtree(self.folder, ignore_errors=True)  # another part may remove it at the same time

    def _alone(self) -> AbstractContextManager[None]:
        return files.lock(self.folder / self.key, "writing the tables of a prediction", wait=True)


def unfinished(
    cases: Iterable[str], done: Mapping[str, LoggedCase], part: Part, volumes: Mapping[str, str]
) -> list[str]:
    """The cases of a part that are not finished, and all slices of a volume of which one is not.

    Args:
        cases: All cases of the folder.
        done: Those that are finished, by their ids.
        part: Which are asked for: it has volumes as a whole.
        volumes: The volume of every slice, where slices change together; else nothing.
    """
    by_volume = list(members_of(cases, volumes).values())
    return [case_id for some in part.of(by_volume) if not done.keys() >= {*some} for case_id in some]


def members_of(cases: Iterable[str], groups: Mapping[str, str]) -> dict[str, list[str]]:
    """Cases by their group, both in the order in which they come; a case of none is alone."""
    found: dict[str, list[str]] = {}
    for case_id in cases:
        found.setdefault(groups.get(case_id, case_id), []).append(case_id)
    return found


def is_begun(output: Path) -> bool:
    """Whether a command has begun to predict into a folder and was not finished."""
    return (output / FOLDER).is_dir()


def finished_cases(output: Path) -> int:
    """How many cases are written down of a prediction that has not ended."""
    lines = (line for path in output.glob(f"{FOLDER}/*/*/cases.jsonl") for line in path.read_bytes().splitlines(True))
    return len({line.partition(b",")[0] for line in lines if line.endswith(b"\n")})  # by the id, which comes first


def key_of(*parts: Any) -> str:
    """A short name of all that predictions depend on."""
    return files.sha256_json(list(parts))[:16]


def stamp_of(paths: Iterable[Path]) -> str:
    """Names, sizes and times of change of a case's files, in short: a file that is replaced has another."""
    named = {path.with_name(path.name.partition("#")[0]) for path in paths}  # items of array files
    found = sorted(one for path in named for one in (path, *(path.rglob("*") if path.is_dir() else ())))
    return key_of(*([str(path), path.stat().st_size, path.stat().st_mtime_ns] for path in found))
