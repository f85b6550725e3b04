"""From DICOM objects to series that can be stacked: skipped, grouped, split, sorted, and checked."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from heldout.data.image import BadFile
from heldout.data.readers.dicom.blobs import open_blobs
from heldout.data.readers.dicom.geometry import SAME_PLACE, SliceGeometry, normal_of, orientation_of, stack, voxel_size
from heldout.data.readers.dicom.header import NoDicom, read_header
from heldout.data.readers.dicom.pixels import stored_bytes
from heldout.data.readers.dicom.slices import REPEATS, Slice, slices_of, why_skipped
from heldout.data.readers.dicom.tags import named

SAME_DIRECTION = 5e-3  # largest difference of direction cosines within a series
MOST_COPIES = 64  # at one position; where there are more, pixels are not compared


@dataclass
class Series:
    """Slices of one series, orientation and time, sorted along their normal. Pixels are read when asked for.

    Attributes:
        slices: In the order of the volume's third axis.
        notes: What is odd about them, a sentence each.
        problem: Why they make no volume, "" where they do.
    """

    slices: list[Slice]
    notes: list[str] = field(default_factory=list)
    problem: str = ""

    @property
    def uid(self) -> str:
        """``SeriesInstanceUID``."""
        return self.slices[0].header.text("SeriesInstanceUID")

    @property
    def modality(self) -> str:
        """``CT``, ``MR`` ..."""
        return self.slices[0].header.text("Modality")

    @property
    def patient_id(self) -> str:
        """``PatientID``, "" where it was removed."""
        return self.slices[0].header.text("PatientID")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Columns, rows and slices, as the volume has them before any resampling."""
        pixels = self.slices[0].pixels
        return pixels.columns, pixels.rows, len(self.slices)

    @property
    def placed(self) -> bool:
        """Whether the slices say where in the patient they lie."""
        return _placed(self.slices[0])

    @property
    def files(self) -> list[str]:
        """Names of the files, each once, in the order of the slices."""
        return list(dict.fromkeys(one.header.name for one in self.slices))

    @cached_property
    def geometry(self) -> SliceGeometry:
        """Where the slices lie; without positions they are stacked at the origin in their stored order."""
        first = self.slices[0]
        header = first.header
        thickness = max(header.number("SliceThickness", 0) or 0, 0) or 1.0
        if self.placed:
            positions = np.stack([one.place[0] for one in self.slices])
            return stack(positions, *first.place[1:], thickness)
        distance = max(header.number("SpacingBetweenSlices", 0) or 0, 0) or thickness
        positions = np.arange(len(self.slices))[:, None] * np.array([0, 0, distance])
        return stack(positions, np.eye(3)[:2], first.spacing or (1.0, 1.0), thickness)

    def describe(self) -> str:
        """One line by which a reader can choose among several."""
        if self.problem:
            return f"{self.modality or 'unknown modality'} {self.shape}, no volume, series {self.uid or 'unnamed'}"
        size = " x ".join(f"{length:.3g}" for length in voxel_size(self.geometry.affine))
        way = orientation_of(self.geometry.affine) if self.placed else "no position"
        return f"{self.modality or 'unknown modality'} {self.shape} of {size} mm, {way}, series {self.uid or 'unnamed'}"


def find_series(source: Path | str | Iterable[Path | str]) -> tuple[list[Series], list[str]]:
    """Every series in a folder, a zip archive, a file or a list of files, largest first.

    Headers only are read, save where two slices lie at one position.

    Returns:
        The series, and a note for each object that is not part of one.

    Raises:
        BadFile: a file that is DICOM is damaged, or nothing is DICOM.
    """
    slices: list[Slice] = []
    notes: list[str] = []
    for blob in open_blobs(source):
        try:
            header = read_header(blob)
        except NoDicom as error:
            if isinstance(source, str | Path) and Path(source).is_file() and blob.name == str(source):
                raise
            notes.append(str(error).partition(":")[0] + " and was skipped")
            continue
        reason = why_skipped(header)
        if reason:
            notes.append(f"{header.name} was skipped: {reason}")
        else:
            slices += slices_of(header)
    if not slices:
        where = source if isinstance(source, str | Path) else "the list of files"
        more = f" ({'; '.join(notes[:3])})" if notes else ""
        raise BadFile(f"{where} holds no DICOM image with pixels{more}: name a folder with a series")
    found = [part for group in _same_plane(slices) for part in _told_apart(group)]
    return sorted(found, key=lambda one: -len(one.slices)), notes


def _same_plane(slices: list[Slice]) -> list[list[Slice]]:
    """Slices that could be stacked: of one series, shape and kind, with one orientation and pixel size."""
    groups: dict[tuple, list[list[Slice]]] = defaultdict(list)
    homes: dict[tuple, list[Slice]] = {}
    for one in slices:
        pixels, header = one.pixels, one.header
        placed = _placed(one)
        key = (
            header.text("SeriesInstanceUID"),
            *(pixels.rows, pixels.columns, pixels.samples, pixels.photometric, placed),
            header.blob.name if one.frames > 1 and not placed else "",
        )
        exact = (*key, header.text("ImageOrientationPatient"), header.text("PixelSpacing"), one.orientation is None)
        if exact not in homes:
            home = next((group for group in groups[key] if not placed or _parallel(group[0], one)), None)
            if home is None:
                home = []
                groups[key].append(home)
            homes[exact] = home
        homes[exact].append(one)
    return [group for same in groups.values() for group in same]


def _placed(one: Slice) -> bool:
    return one.position is not None and one.orientation is not None


def _parallel(one: Slice, other: Slice) -> bool:
    (_, axes, spacing), (_, other_axes, other_spacing) = one.place, other.place
    near = np.abs(axes - other_axes).max() <= SAME_DIRECTION
    return bool(near and np.allclose(spacing, other_spacing, rtol=1e-3))


def _told_apart(group: list[Slice]) -> list[Series]:
    """Split a group whose positions repeat by time, echo and the like; drop copies; sort."""
    if not _placed(group[0]):
        return [_unplaced(group)]
    notes: list[str] = []
    group = _without_copies(group, notes, by_uid=True)
    parts = _split(group)
    found = []
    for part in parts:
        own = list(notes)
        part = _without_copies(part, own, by_uid=False)
        part = [part[n] for n in np.argsort(_heights(part), kind="stable")]
        series = Series(part, own)
        if len(parts) > 1:
            own.append(f"one of {len(parts)} volumes of its series that lie at the same positions")
        together = next(iter(_together(part)), None)
        if together:
            here = len(together)
            series.problem = (
                f"{together[0].name} and {here - 1} more of {len(part)} slices have different pixels at one "
                f"{named('ImagePositionPatient')}: they do not form a volume; keep one slice per position"
            )
        found.append(series)
    return found


def _unplaced(group: list[Slice]) -> Series:
    series = Series(group)
    if len({one.header.name for one in group}) > 1:
        lacking = "ImagePositionPatient" if group[0].position is None else "ImageOrientationPatient"
        series.problem = (
            f"{group[0].name} and {len(group) - 1} more slices have no {named(lacking)}: their order is unknown; "
            f"re-export the series with its geometry"
        )
    series.notes.append(f"{group[0].header.name} does not state its position in the patient: order and axes as stored")
    return series


def _heights(group: list[Slice]) -> np.ndarray:
    """Places along the normal of the first slice, mm."""
    return np.stack([one.place[0] for one in group]) @ normal_of(group[0].place[1])


def _together(group: list[Slice]) -> list[list[Slice]]:
    """Slices at one position, where there are several; the largest such sets first."""
    heights = _heights(group)
    order = np.argsort(heights, kind="stable")
    cuts = np.flatnonzero(np.diff(heights[order]) >= SAME_PLACE) + 1
    sets = [[group[n] for n in part] for part in np.split(order, cuts) if len(part) > 1]
    return sorted(sets, key=lambda some: -len(some))


def _without_copies(group: list[Slice], notes: list[str], *, by_uid: bool) -> list[Slice]:
    """Drop slices that repeat another at their position byte for byte (with ``by_uid``: under one SOP UID too)."""
    dropped: set[int] = set()
    for some in _together(group):
        seen: dict[tuple, Slice] = {}
        uids = Counter(one.header.text("SOPInstanceUID") for one in some if by_uid and one.frames == 1)
        if not by_uid and len(some) > MOST_COPIES:
            continue
        for one in some:
            uid = one.header.text("SOPInstanceUID") if by_uid else ""
            if by_uid and (not uid or uids[uid] < 2):
                continue
            known = seen.setdefault((uid, one.rescale, stored_bytes(one)), one)
            if known is not one:
                dropped.add(id(one))
                notes.append(f"{one.name} repeats {known.name} and was left out")
    return [one for one in group if id(one) not in dropped]


def _split(group: list[Slice]) -> list[list[Slice]]:
    """Parts of a group in which no position repeats, by the first attribute or pair of attributes that gives them."""
    if not _together(group):
        return [group]
    keys = [keyword for keyword in REPEATS if len({one.distinction(keyword) for one in group}) > 1]
    for names in [*((key,) for key in keys), *((a, b) for n, a in enumerate(keys) for b in keys[n + 1 :])]:
        parts: dict[tuple, list[Slice]] = defaultdict(list)
        for one in group:
            parts[tuple(one.distinction(name) for name in names)].append(one)
        if min(map(len, parts.values())) > 1 and not any(_together(part) for part in parts.values()):
            return list(parts.values())
    return [group]
