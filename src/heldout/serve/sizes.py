"""How large the uploads of a request are, by their headers alone, and the largest that is read."""

from __future__ import annotations

import math
from pathlib import Path

from heldout.data import readers
from heldout.data.image import BadFile
from heldout.serve.uploads import Refused

MOST_VOXELS = 2**27  # of one case; float32 with the copies of preparation stays below 2 GB


def check_sizes(folder: Path) -> None:
    """Refuse a file or series that is too large to be read.

    Raises:
        Refused: 413.
    """
    for path in sorted(folder.iterdir()):
        try:
            found = shapes(path)
        except BadFile:  # said in full when it is read
            continue
        for shape in found:
            if math.prod(map(int, shape)) > MOST_VOXELS:
                size = " x ".join(map(str, shape))
                raise Refused(413, f"{path.name} has {size} voxels, {MOST_VOXELS} are allowed: crop it")


def shapes(path: Path) -> list[tuple[int, ...]]:
    """Shape of an image, or of every series of DICOM files; none where the format is another.

    Raises:
        BadFile: its header is damaged.
    """
    kind = "dicom" if path.is_dir() else readers.format_of(path)
    if kind == "nifti":
        from heldout.data.readers.nifti import read_header

        return [read_header(path)[0].get_data_shape()]
    if kind == "dicom":
        from heldout.data.readers.dicom import find_series

        return [series.shape for series in find_series(path)[0]]
    if kind in ("png", "jpeg", "tiff"):
        from heldout.data.readers.image import displayed_size

        return [displayed_size(path)]
    return []
