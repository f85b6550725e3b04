"""Which files of a large tree are slices of which series, from headers alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from heldout.data.image import BadFile
from heldout.data.readers.dicom.blobs import FileBlob, files_below
from heldout.data.readers.dicom.header import NoDicom, read_header
from heldout.data.readers.dicom.slices import why_skipped


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a tree.

    Attributes:
        path: The file.
        patient, series: ``PatientID`` and ``SeriesInstanceUID``.
        problem: Why it cannot be part of a volume: no DICOM, damaged, a scout, without pixels; "" where it can.
        damaged: Whether it is DICOM that cannot be read.
    """

    path: Path
    patient: str = ""
    series: str = ""
    problem: str = ""
    damaged: bool = False


def index_tree(folder: Path) -> Iterator[Entry]:
    """Yield an entry for every file below a folder, in the order of their names; memory does not grow with the tree."""
    return map(_entry, files_below(folder))


def _entry(path: Path) -> Entry:
    """Entry of one file; what is wrong with it is told, not raised."""
    try:
        header = read_header(FileBlob(path))
    except NoDicom:
        return Entry(path, problem="it is not a DICOM file")
    except BadFile as error:
        return Entry(path, problem=str(error), damaged=True)
    return Entry(path, header.text("PatientID"), header.text("SeriesInstanceUID"), why_skipped(header))
