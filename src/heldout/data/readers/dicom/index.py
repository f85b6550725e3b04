"""A table of everything in a large tree, from headers alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from heldout.data.image import BadFile
from heldout.data.readers.dicom.blobs import FileBlob, files_below
from heldout.data.readers.dicom.header import NoDicom, read_header
from heldout.data.readers.dicom.slices import why_skipped
from heldout.progress import track


@dataclass(frozen=True, slots=True)
class IndexedFile:
    """One file of a tree.

    Attributes:
        path: The file.
        patient, series: ``PatientID`` and the UID of the series.
        modality: ``CT``, ``MR`` ...
        rows, columns, frames: Shape of the pixels, 0 where there are none.
        syntax: Transfer syntax UID.
        problem: Why it cannot be part of a volume: no DICOM, damaged, a scout, without pixels; "" where it can.
        damaged: Whether it is DICOM that cannot be read.
    """

    path: Path
    patient: str = ""
    series: str = ""
    modality: str = ""
    rows: int = 0
    columns: int = 0
    frames: int = 0
    syntax: str = ""
    problem: str = ""
    damaged: bool = False


def index_tree(folder: Path | str, *, progress: bool = False) -> Iterator[IndexedFile]:
    """Yield an entry for every file below a folder, in the order of their names.

    Memory does not grow with the tree: entries are yielded as they come, and one folder is listed at a time.

    Args:
        folder: Where to look.
        progress: Show a bar with the number of files, on the error stream; it lists the tree once before.

    Raises:
        BadFile: there is no such folder.
    """
    root = Path(folder)
    if not root.is_dir():
        raise BadFile(f"{root} is not a folder: name one that holds DICOM files")
    if not progress:
        yield from map(index_file, files_below(root))
        return
    paths = track(files_below(root), sum(1 for _ in files_below(root)), "Reading headers")
    yield from map(index_file, paths)


def index_file(path: Path) -> IndexedFile:
    """What one file is; what is wrong with it is told, not raised."""
    try:
        header = read_header(FileBlob(path))
        rows, columns = (int(header.number(name, 0)) if header.pixels else 0 for name in ("Rows", "Columns"))
        frames = int(header.number("NumberOfFrames", 1)) if header.pixels else 0
    except NoDicom:
        return IndexedFile(path, problem="it is not a DICOM file")
    except BadFile as error:
        return IndexedFile(path, problem=str(error), damaged=True)
    names = ("PatientID", "SeriesInstanceUID", "Modality")
    patient, series, modality = map(header.text, names)
    return IndexedFile(
        path,
        patient,
        series,
        modality,
        rows,
        columns,
        frames,
        header.syntax,
        why_skipped(header),
    )
