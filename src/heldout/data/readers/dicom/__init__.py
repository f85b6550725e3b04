"""DICOM series: a folder, a zip archive or a list of files becomes one checked volume.

Headers are read first; slices are grouped by series, orientation and time, sorted along their normal, and checked for
copies, gaps and tilt before a pixel is touched. What cannot be trusted is complained about by file and tag; what is
merely odd is noted in :attr:`Volume.notes`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from heldout.data.image import BadFile, Image
from heldout.data.readers.dicom import geometry as geo
from heldout.data.readers.dicom.header import read_header
from heldout.data.readers.dicom.index import IndexedFile, index_tree
from heldout.data.readers.dicom.pixels import load, load_slice
from heldout.data.readers.dicom.series import Series, find_series
from heldout.data.readers.dicom.tags import named

__all__ = [
    "IndexedFile",
    "Series",
    "Volume",
    "find_series",
    "grid_of",
    "index_tree",
    "load_series",
    "oddities",
    "read",
    "read_header",
    "read_mask",
    "read_volume",
]

Source = Path | str | Iterable[Path | str]


@dataclass(frozen=True)
class Volume:
    """A volume and what is known about it.

    Attributes:
        image: Values (C, columns, rows, slices) and affine to RAS+ mm.
        spacing: Length of a step along each axis, mm.
        orientation: Where the axes point, such as ``LPS``; "" where the file does not tell.
        units: ``HU`` for CT, ``raw`` for everything else.
        series: The slices it was made of.
        notes: What was skipped, left out, resampled or is odd.
    """

    image: Image
    spacing: tuple[float, ...]
    orientation: str
    units: str
    series: Series
    notes: tuple[str, ...]


def read(path: Source, *, dimensions: int | None = None) -> Image:
    """Read the only volume of a file, a folder or a zip archive; with ``dimensions = 2`` the only image.

    Returns:
        (C, columns, rows, slices) with an affine, or an image (C, rows, columns) without.

    Raises:
        BadFile: as :func:`read_volume`; or it is not a single image where one is wanted.
    """
    if dimensions != 2:
        return read_volume(path).image
    found, _ = find_series(path)
    if len(found) > 1 or len(found[0].slices) > 1:
        raise BadFile(
            f"{_name(path, found)} holds {sum(len(one.slices) for one in found)} slices: choose a task for 3D data"
        )
    return Image(load_slice(found[0].slices[0]))


def read_mask(path: Path | str) -> np.ndarray:
    """Read a label map (1, columns, rows, slices) as uint8.

    Raises:
        BadFile: as :func:`read_volume`; or values that are not whole numbers from 0 to 255.
    """
    array = read(path).array
    if len(array) > 1 or array.min() < 0 or array.max() > 255 or not np.array_equal(array, np.rint(array)):
        raise BadFile(f"{path} is not a label map: store one channel of whole numbers from 0 to 255")
    return array.astype(np.uint8)


def read_volume(
    source: Source,
    *,
    pick: Literal["only", "largest"] | int = "only",
    gaps: Literal["refuse", "report", "resample"] = "refuse",
    tilt: Literal["keep", "correct"] = "keep",
    workers: int | None = None,
) -> Volume:
    """Read one volume.

    Args:
        source: A folder, a zip archive, a file, or a list of files.
        pick: Which volume where there are several: ``only`` refuses, ``largest`` takes the one with the most slices,
            a number the one at that place of :func:`find_series`.
        gaps: What to do with missing or unevenly spaced slices: refuse the series; take the slices as they are with
            the mean step and a note; or interpolate linearly at the usual step.
        tilt: Keep a tilted gantry's sheared affine (with a note), or move the slices upright.
        workers: Threads that decode; None takes all cores.

    Raises:
        BadFile: a file is damaged or no DICOM, nothing has pixels, there are several volumes, or the slices make none.
    """
    found, skipped = find_series(source)
    if pick == "only" and len(found) > 1:
        listed = "; ".join(f"{n}: {one.describe()}" for n, one in enumerate(found[:4]))
        raise BadFile(
            f"{_name(source, found)} holds {len(found)} volumes ({listed}): keep the files of one, or choose it with "
            "the option pick"
        )
    if isinstance(pick, int) and not 0 <= pick < len(found):
        raise BadFile(f"{_name(source, found)} holds {len(found)} volumes: there is no number {pick}")
    chosen = found[pick if isinstance(pick, int) else 0]
    others = [f"left out another volume: {one.describe()}" for one in found if one is not chosen]
    return load_series(chosen, gaps=gaps, tilt=tilt, workers=workers, notes=[*skipped, *others])


def load_series(
    series: Series,
    *,
    gaps: Literal["refuse", "report", "resample"] = "refuse",
    tilt: Literal["keep", "correct"] = "keep",
    workers: int | None = None,
    notes: Sequence[str] = (),
) -> Volume:
    """Read the pixels of a series; see :func:`read_volume`.

    Raises:
        BadFile: the slices make no volume, or their pixels are damaged.
    """
    complaint = _complaint(series, gaps, tilt)
    if complaint:
        raise BadFile(complaint)
    grid, notes = series.geometry, [*notes, *oddities(series)]
    array = load(series.slices, workers)
    if grid.off > geo.EVEN and gaps == "resample":
        notes.append("slices were interpolated at the usual step")
        array, grid = geo.resample_even(array, grid)
    if grid.tilt > geo.UPRIGHT and tilt == "correct":
        notes.append("the tilt was corrected by moving each slice within its plane")
        array, grid = geo.straighten(array, grid)
    array = array.transpose(0, 3, 2, 1)
    units = "HU" if series.modality == "CT" else "raw"
    affine = grid.affine
    way = geo.orientation_of(affine) if series.placed else ""
    return Volume(Image(array, affine), geo.voxel_size(affine), way, units, series, tuple(notes))


def grid_of(series: Series, *, gaps: Literal["refuse", "report", "resample"] = "refuse") -> geo.SliceGeometry:
    """Geometry of the volume that :func:`load_series` would give without correcting a tilt, from headers alone.

    Raises:
        BadFile: the slices make no volume.
    """
    complaint = _complaint(series, gaps)
    if complaint:
        raise BadFile(complaint)
    uneven = series.geometry.off > geo.EVEN
    return geo.evened(series.geometry) if uneven and gaps == "resample" else series.geometry


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


def _complaint(series: Series, gaps: str, tilt: str = "keep") -> str:
    """Why a series makes no volume, or ""."""
    if series.problem:
        return series.problem
    grid, name = series.geometry, series.slices[0].name
    if grid.sideways > geo.SIDEWAYS:
        return (
            f"{name} and its series are shifted sideways by up to {grid.sideways:.1f} pixels from slice to slice "
            f"({named('ImagePositionPatient')}): they do not form a volume; restore or re-export the series"
        )
    if grid.off > geo.EVEN and gaps == "refuse":
        return (
            f"{name} and its series have missing or unevenly spaced slices (steps of "
            f"{geo.describe_steps(grid.distances)} between {named('ImagePositionPatient')}): restore the missing ones, "
            "or read it with the option gaps = 'resample'"
        )
    if gaps == "resample" and len(grid.distances) > 1 and geo.filled(grid) > geo.MOST_FILLED:
        return (
            f"{name} and its series lack most of their slices (steps of {geo.describe_steps(grid.distances)} between "
            f"{named('ImagePositionPatient')}): there is too little to interpolate between; restore the missing ones"
        )
    if grid.tilt > geo.STEEPEST or (tilt == "correct" and geo.widened(grid, series.shape) > geo.MOST_FILLED):
        return (
            f"{name} and its series move {grid.tilt:.0f} degrees away from their normal "
            f"({named('ImagePositionPatient')}): that is not a tilted gantry; restore or re-export the series"
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


def _name(source: Source, found: list[Series]) -> str:
    return str(source) if isinstance(source, str | Path) else found[0].slices[0].header.name
