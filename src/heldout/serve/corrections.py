"""What reviewers say of predictions: versioned labels beside the decision, and a dataset made of them."""

from __future__ import annotations

import csv
import io
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from heldout import files
from heldout.errors import UserError
from heldout.escape import spreadsheet
from heldout.records import Record, read_record

VERDICTS = ("accepted", "corrected", "rejected")
_REMEDY = "delete its folder, or restore it"


class CorrectionRecord(Record):
    """``correction.json``: one version of one reviewed case.

    Attributes:
        case: First 16 digits of the SHA-256 of the image's file.
        version: 1 and on.
        decision, seal: What was reviewed.
        reviewer: Name of the token; None without tokens.
        time: UTC.
        verdict: One of :data:`VERDICTS`.
        comment: The reviewer's own words.
        image, mask: Names of the files beside it; no mask where the prediction was rejected or there are none.
        image_sha256, mask_sha256: Their hashes.
        prediction: Probability of every class as it was served.
    """

    schema_version: int = Field(default=1, alias="schema")
    case: str
    version: int
    decision: str
    seal: str
    reviewer: str | None
    time: str
    verdict: Literal["accepted", "corrected", "rejected"]
    comment: str
    image: str
    image_sha256: str
    mask: str | None
    mask_sha256: str | None
    prediction: dict[str, float]


def corrections_folder(decision: str) -> Path:
    """Where corrections of a decision lie."""
    return files.home() / "working" / "corrections" / decision


def save(
    image: Path,
    mask: tuple[str, bytes] | None,
    *,
    decision: str,
    seal: str,
    reviewer: str | None,
    verdict: str,
    comment: str,
    prediction: dict[str, float],
) -> CorrectionRecord:
    """Write the next version of a case.

    Args:
        image: The uploaded file.
        mask: Name and content of the label.
        decision: What was reviewed.
        seal: Its seal.
        reviewer: Name of the token.
        verdict: One of :data:`VERDICTS`.
        comment: The reviewer's own words.
        prediction: Probability of every class as it was served.
    """
    digest = files.sha256_file(image)
    case = corrections_folder(decision) / digest[:16]
    case.mkdir(parents=True, exist_ok=True)
    with files.lock(case, "saving a correction", wait=True):
        version = 1 + max((int(one.name[1:]) for one in case.glob("v*") if one.name[1:].isdigit()), default=0)
        folder = case / f"v{version}"
        name = "image" + "".join(image.suffixes[-2:])
        files.write_bytes(folder / name, image.read_bytes())
        if mask is not None:
            files.write_bytes(folder / mask[0], mask[1])
        record = CorrectionRecord.model_validate(
            {
                "case": digest[:16],
                "version": version,
                "decision": decision,
                "seal": seal,
                "reviewer": reviewer,
                "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "verdict": verdict,
                "comment": comment,
                "image": name,
                "image_sha256": digest,
                "mask": None if mask is None else mask[0],
                "mask_sha256": None if mask is None else files.sha256_bytes(mask[1]),
                "prediction": prediction,
            }
        )
        files.write_json(folder / "correction.json", record.model_dump(mode="json", by_alias=True))
    return record


def latest(decision: str) -> Iterator[tuple[Path, CorrectionRecord]]:
    """Folder and record of the last version of every case.

    Raises:
        UserError: a record is damaged.
    """
    for case in sorted(corrections_folder(decision).glob("*")):
        versions = [one for one in case.glob("v*/correction.json") if one.parent.name[1:].isdigit()]
        if versions:
            last = max(versions, key=lambda path: int(path.parent.name[1:]))
            yield last.parent, read_record(last, CorrectionRecord, 1, _REMEDY)


def export(decision: str, output: Path) -> tuple[Path, int]:
    """Make a dataset of the accepted and corrected cases, for ``source = "table"``.

    It is a folder of its own, with ``images/``, ``masks/``, ``cases.csv`` and, beside it, ``reviews.csv``: nothing is
    added to a fold table.

    Returns:
        The table, and the number of cases.

    Raises:
        UserError: there is none, the output is not empty, or a file changed.
    """
    if output.exists() and any(output.iterdir()):
        raise UserError(f"--output {output} is not empty: name another folder")
    rows = []
    for folder, one in latest(decision):
        if one.verdict == "rejected":
            continue
        parts = [(one.image, one.image_sha256, "images")]
        if one.mask is not None and one.mask_sha256 is not None:
            parts.append((one.mask, one.mask_sha256, "masks"))
        named = {}
        for name, digest, kind in parts:
            if not (folder / name).is_file() or files.sha256_file(folder / name) != digest:
                raise UserError(f"{folder / name} changed after it was saved: {_REMEDY}")
            target = output / kind / (one.case + "".join(Path(name).suffixes))
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / name, target)
            named[kind] = target.relative_to(output).as_posix()
        rows.append((one.case, named["images"], named.get("masks", ""), one.verdict, one.reviewer or "", one.comment))
    if not rows:
        raise UserError(
            f"{decision} has no accepted or corrected case: review some at `python run.py serve {decision}`"
        )
    reviews = [(row[0], *map(spreadsheet, row[3:])) for row in rows]
    _write(output / "reviews.csv", ("id", "verdict", "reviewer", "comment"), reviews)
    _write(output / "cases.csv", ("id", "path", "mask"), [row[:3] for row in rows])
    return output / "cases.csv", len(rows)


def _write(path: Path, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([head, *rows])
    files.write_text(path, text.getvalue())
