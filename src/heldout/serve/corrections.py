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
        case: First 16 digits of the hash of the image.
        version: 1 and on.
        decision, seal: What was reviewed.
        reviewer: Name of the token; None without tokens.
        time: UTC.
        verdict: One of :data:`VERDICTS`.
        comment: The reviewer's own words.
        image, mask: Names of the files beside it. No image of DICOM files, which name the patient; no mask of
            these, where the prediction was rejected, or where voxels have no label or several.
        image_sha256, mask_sha256: Their hashes; of a DICOM series, over those of its files.
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
    image: str | None
    image_sha256: str
    mask: str | None
    mask_sha256: str | None
    prediction: dict[str, float]


def corrections_folder(decision: str) -> Path:
    """Where corrections of a decision lie."""
    return files.home() / "working" / "corrections" / decision


def save(
    digest: str,
    image: Path | None,
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
        digest: Hash of the image.
        image: The uploaded file; None where it is not to be kept.
        mask: Name and content of the label.
        decision: What was reviewed.
        seal: Its seal.
        reviewer: Name of the token.
        verdict: One of :data:`VERDICTS`.
        comment: The reviewer's own words.
        prediction: Probability of every class as it was served.
    """
    case = corrections_folder(decision) / digest[:16]
    case.mkdir(parents=True, exist_ok=True)
    with files.lock(case, "saving a correction", wait=True):
        version = 1 + max((int(one.name[1:]) for one in case.glob("v*") if one.name[1:].isdigit()), default=0)
        folder = case / f"v{version}"
        name = None if image is None else "image" + "".join(image.suffixes[-2:])
        if image is not None and name is not None:
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
    """Make a dataset of the accepted and corrected masks, for ``source = "table"``, and a table of all reviews.

    It is a folder of its own, with ``images/``, ``masks/``, ``cases.csv`` and, beside it, ``reviews.csv``: nothing is
    added to a fold table.

    Returns:
        ``cases.csv`` and its number of cases; ``reviews.csv`` and its number where no review has image and mask.

    Raises:
        UserError: there is none, the output is not empty, or a file changed.
    """
    if output.exists() and any(output.iterdir()):
        raise UserError(f"--output {output} is not empty: name another folder")
    rows, reviews = [], []
    for folder, one in latest(decision):
        texts = (one.verdict, one.reviewer or "", one.time, one.comment)
        reviews.append((one.case, *map(spreadsheet, texts)))
        if one.image is None or one.mask is None:
            continue
        named = []
        for name, digest, kind in ((one.image, one.image_sha256, "images"), (one.mask, one.mask_sha256, "masks")):
            if not (folder / name).is_file() or files.sha256_file(folder / name) != digest:
                raise UserError(f"{folder / name} changed after it was saved: {_REMEDY}")
            target = output / kind / (one.case + "".join(Path(name).suffixes))
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / name, target)
            named.append(target.relative_to(output).as_posix())
        rows.append((one.case, *named))
    if not reviews:
        raise UserError(f"{decision} has no reviewed case: review some at `python run.py serve {decision}`")
    _write(output / "reviews.csv", ("id", "verdict", "reviewer", "time", "comment"), reviews)
    if not rows:
        return output / "reviews.csv", len(reviews)
    _write(output / "cases.csv", ("id", "path", "mask"), rows)
    return output / "cases.csv", len(rows)


def _write(path: Path, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([head, *rows])
    files.write_text(path, text.getvalue())
