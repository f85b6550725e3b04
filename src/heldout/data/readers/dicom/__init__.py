"""DICOM series: a folder, a zip archive or a list of files becomes one checked volume.

Headers are read first; slices are grouped by series, orientation and time, sorted along their normal, and checked for
copies, gaps and tilt before a pixel is touched. What cannot be trusted is refused, naming the file and the tag; what is
merely odd is listed by :func:`oddities`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from heldout.data.image import BadFile, Image, check_labels
from heldout.data.readers.dicom import geometry as geo
from heldout.data.readers.dicom.index import index_tree
from heldout.data.readers.dicom.pixels import load
from heldout.data.readers.dicom.series import Series, find_series
from heldout.data.readers.dicom.tags import named

__all__ = ["Series", "find_series", "index_tree", "load_series", "oddities", "read", "read_mask"]

Source = Path | str | Iterable[Path | str]


def read(source: Source, *, dimensions: int | None = None, salvage: bool = False) -> Image:
    """Read the only volume of a file, a folder, a zip archive or a list of files.

    Args:
        source: Where it is.
        dimensions: 2 reads the only picture.
        salvage: Take the volume with the most slices where there are several, and interpolate linearly where slices
            are missing or unevenly spaced, instead of refusing.

    Returns:
        (C, columns, rows, slices) with an affine, or a picture (C, rows, columns) without: Hounsfield units of CT,
        raw values of everything else.

    Raises:
        BadFile: a file is damaged or not DICOM, nothing has pixels, there are several volumes, or the slices make none.
    """
    found, _ = find_series(source)
    name = str(source) if isinstance(source, str | Path) else found[0].slices[0].header.name
    if dimensions == 2:
        if len(found) > 1 or len(found[0].slices) > 1:
            count = sum(len(one.slices) for one in found)
            raise BadFile(f"{name} holds {count} slices: choose a task for 3D data")
        return Image(load(found[0].slices)[:, 0])
    if len(found) > 1 and not salvage:
        listed = "; ".join(one.describe() for one in found[:4])
        raise BadFile(f"{name} holds {len(found)} volumes ({listed}): keep the files of one, and move the others away")
    return load_series(found[0], salvage=salvage)


def read_mask(path: Path | str) -> np.ndarray:
    """Read a label map (1, columns, rows, slices) as uint8.

    Raises:
        BadFile: as :func:`read`; or values that are not whole numbers from 0 to 255.
    """
    array = read(path).array
    if len(array) > 1:
        raise BadFile(f"{path} has {len(array)} channels: store the mask as one channel of class numbers")
    check_labels(path, array)
    return array.astype(np.uint8)


def load_series(series: Series, *, salvage: bool = False) -> Image:
    """Read the pixels of a series; see :func:`read`. A tilted gantry gives a sheared affine.

    Raises:
        BadFile: the slices make no volume, or their pixels are damaged.
    """
    complaint = _complaint(series, salvage)
    if complaint:
        raise BadFile(complaint)
    array, grid = load(series.slices), series.geometry
    if grid.off > geo.EVEN:
        array, grid = geo.resample_even(array, grid)
    return Image(array.transpose(0, 3, 2, 1), grid.affine)


def oddities(series: Series) -> list[str]:
    """What the headers of a series show to be odd, a sentence each."""
    if series.problem:
        return [series.problem]
    grid, notes = series.geometry, list(series.notes)
    if grid.off > geo.EVEN:
        notes.append(f"missing or unevenly spaced slices: steps of {geo.describe_steps(grid.distances)}")
    elif grid.off > geo.WORTH_A_NOTE:
        notes.append(f"slices lie up to {100 * grid.off:.0f} % of a step off their even places; the mean step is used")
    if grid.tilt > geo.UPRIGHT:
        notes.append(f"the gantry was tilted by {grid.tilt:.1f} degrees: the affine is sheared")
    if len(series.slices) < 3:
        notes.append(f"the volume has {len(series.slices)} slice{'s' if len(series.slices) > 1 else ''} only")
    return notes + _value_notes(series)


def _complaint(series: Series, salvage: bool) -> str:
    """Why a series makes no volume, or ""."""
    if series.problem:
        return series.problem
    grid, name, place = series.geometry, series.slices[0].name, named("ImagePositionPatient")
    if grid.sideways > geo.SIDEWAYS:
        return (
            f"{name} and its series are shifted sideways by up to {grid.sideways:.1f} pixels from slice to slice "
            f"({place}): they do not form a volume; restore or re-export the series"
        )
    if grid.off > geo.EVEN and not salvage:
        return (
            f"{name} and its series have missing or unevenly spaced slices (steps of "
            f"{geo.describe_steps(grid.distances)} between {place}): restore the missing ones, or set the case aside "
            f"with --skip-bad"
        )
    if salvage and len(grid.distances) > 1 and geo.filled(grid) > geo.MOST_FILLED:
        return (
            f"{name} and its series lack most of their slices (steps of {geo.describe_steps(grid.distances)} between "
            f"{place}): there is too little to interpolate between; restore the missing ones"
        )
    if grid.tilt > geo.STEEPEST:
        return (
            f"{name} and its series move {grid.tilt:.0f} degrees away from their normal ({place}): that is not a "
            f"tilted gantry; restore or re-export the series"
        )
    return ""


def _value_notes(series: Series) -> list[str]:
    first, notes = series.slices[0], []
    if first.pixels.photometric == "MONOCHROME1":
        notes.append(f"{named('PhotometricInterpretation')} is MONOCHROME1: values were mirrored, bright is high")
    if first.frames > 1 and not first.header.has("NumberOfFrames"):
        notes.append(f"{named('NumberOfFrames')} is missing: {first.frames} frames were found in the pixels")
    if first.header.has("ModalityLUTSequence"):
        notes.append(f"{named('ModalityLUTSequence')} was not applied: values are as stored")
    if len({one.rescale for one in series.slices}) > 1:
        notes.append(f"{named('RescaleSlope')} differs between slices: each was rescaled by its own")
    return notes
