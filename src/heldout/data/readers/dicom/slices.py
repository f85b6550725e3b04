"""From headers to slices: one per object, or one per frame of a multi-frame object (PS3.3 C.7.6.16)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from heldout.data.image import BadFile
from heldout.data.readers.dicom.blobs import FREE_BYTES, MAX_BYTES
from heldout.data.readers.dicom.elements import UNDEFINED
from heldout.data.readers.dicom.fragments import count_frames
from heldout.data.readers.dicom.header import Header
from heldout.data.readers.dicom.tags import TAGS, named

MOST_FRAMES = 20_000
MOST_COMPRESSED = 1000  # times its own size that a compressed or deflated file may claim beyond FREE_BYTES
_SCOUTS = ("LOCALIZER", "SCOUT", "TOPOGRAM", "SURVIEW")
_COLORS = {"RGB": 3, "YBR_FULL": 3, "YBR_FULL_422": 3, "YBR_RCT": 3, "YBR_ICT": 3}
_GRAYS = ("MONOCHROME1", "MONOCHROME2")
_FLOATS = {"FloatPixelData": 32, "DoubleFloatPixelData": 64}
# Items of the functional groups that say where a frame lies, what its values mean, and what tells it from another
# frame at the same place. Private groups are left alone: some repeat these tags with other meanings.
_GROUPS = (
    *("PixelMeasuresSequence", "PlaneOrientationSequence", "PlanePositionSequence", "FrameContentSequence"),
    *("PixelValueTransformationSequence", "FrameVOILUTSequence", "MREchoSequence", "MRDiffusionSequence"),
    *("MRImageFrameTypeSequence", "CTImageFrameTypeSequence"),
)
# What may tell slices at one position apart, in the order in which it is tried.
REPEATS = (
    *("TemporalPositionIndex", "TemporalPositionIdentifier", "EffectiveEchoTime", "EchoTime", "DiffusionBValue"),
    *("FrameType", "ImageType", "StackID", "TriggerTime", "AcquisitionNumber", "AcquisitionTime"),
)


@dataclass(frozen=True)
class Pixels:
    """How the frames of an object are stored.

    Attributes:
        rows, columns: Of a frame.
        samples: 1 for gray, 3 for colors.
        allocated, stored, high: Bits per sample, those in use, and the highest of them.
        signed: Whether samples are two's complement.
        photometric: ``PhotometricInterpretation``.
        planar: Whether colors are stored one plane after the other.
        real: Whether samples are floats.
    """

    rows: int
    columns: int
    samples: int
    allocated: int
    stored: int
    high: int
    signed: bool
    photometric: str
    planar: bool
    real: bool

    @property
    def dtype(self) -> np.dtype:
        """Of stored samples, in the machine's byte order."""
        kind = "f" if self.real else "i" if self.signed else "u"
        return np.dtype(f"{kind}{self.allocated // 8}")

    @property
    def frame_bytes(self) -> int:
        """Of one decoded frame."""
        return self.rows * self.columns * self.samples * (self.allocated // 8)

    @property
    def limits(self) -> tuple[int, int]:
        """Smallest and largest value that the bits in use can hold."""
        if self.signed:
            return -(1 << (self.stored - 1)), (1 << (self.stored - 1)) - 1
        return 0, (1 << self.stored) - 1


@dataclass(frozen=True)
class Slice:
    """One plane of pixels.

    Attributes:
        header: Of its file, with the functional groups of its frame laid over it.
        frame: Number of the frame in the file, from 0.
        frames: Frames of the file.
        pixels: How it is stored.
    """

    header: Header
    frame: int
    frames: int
    pixels: Pixels

    @property
    def name(self) -> str:
        """File, and frame where there are several, for messages."""
        return f"{self.header.name} (frame {self.frame + 1})" if self.frames > 1 else self.header.name

    @cached_property
    def position(self) -> np.ndarray | None:
        """Center of the first pixel in mm, LPS, or None."""
        values = self.header.numbers("ImagePositionPatient", 3)
        return None if values is None else np.array(values)

    @cached_property
    def orientation(self) -> np.ndarray | None:
        """Directions (2, 3) along which columns and rows are counted, LPS, or None.

        Raises:
            BadFile: they are not two directions at right angles.
        """
        values = self.header.numbers("ImageOrientationPatient", 6)
        if values is None:
            return None
        axes = np.array(values).reshape(2, 3)
        lengths = np.sqrt((axes**2).sum(1))
        if abs(lengths - 1).max() > 0.01 or abs(axes[0] @ axes[1]) > 0.01:
            raise BadFile(
                f"{self.name} has {named('ImageOrientationPatient')} = {list(values)}, which are not two unit vectors "
                f"at right angles: restore or re-export the file"
            )
        return axes / lengths[:, None]

    @cached_property
    def spacing(self) -> tuple[float, float] | None:
        """Distance between rows and between columns in mm, or None where it is not told.

        Raises:
            BadFile: a distance is not positive though the slice has a place in the patient.
        """
        values = self.header.numbers("PixelSpacing", 2)
        if values is not None and min(values) > 0:
            return values[0], values[1]
        if self.position is None or self.orientation is None:
            return None
        shown = "no" if values is None else str(list(values))
        raise BadFile(f"{self.name} has {shown} {named('PixelSpacing')}: its size is unknown; re-export the file")

    @property
    def place(self) -> tuple[np.ndarray, np.ndarray, tuple[float, float]]:
        """Position, orientation and spacing of a slice that has them.

        Raises:
            BadFile: one of them is missing.
        """
        if self.position is None or self.orientation is None or self.spacing is None:
            raise BadFile(f"{self.name} does not state its position in the patient: re-export it with its geometry")
        return self.position, self.orientation, self.spacing

    @cached_property
    def rescale(self) -> tuple[float, float]:
        """Slope and intercept from stored to real values.

        Raises:
            BadFile: the slope is zero.
        """
        slope = self.header.number("RescaleSlope", 1.0)
        if slope == 0:
            raise BadFile(f"{self.name} has {named('RescaleSlope')} = 0, which erases every value: re-export the file")
        return slope, self.header.number("RescaleIntercept", 0.0)

    def distinction(self, keyword: str) -> str:
        """Value of an attribute by which slices at one position may differ."""
        return self.header.text(keyword) if keyword not in _BINARY else str(self.header.number(keyword))


_BINARY = ("TemporalPositionIndex", "EffectiveEchoTime", "DiffusionBValue")


def why_skipped(header: Header) -> str:
    """Why an object is not part of any volume, or ""."""
    if header.pixels is None:
        return "it has no pixels"
    kind = [part.strip() for part in header.text("ImageType").upper().split("\\")]
    if any(part in _SCOUTS for part in kind):
        return f"it is a scout ({named('ImageType')} says {next(part for part in kind if part in _SCOUTS)})"
    return ""


def slices_of(header: Header) -> list[Slice]:
    """Slices of an object that has pixels.

    Raises:
        BadFile: its description of the pixels is missing, contradictory, or of a kind that is not read.
    """
    pixels = _pixels(header)
    count = header.whole("NumberOfFrames", 0, MOST_FRAMES, default=0) or _counted(header, pixels)
    check_stored(header, pixels, count)
    if count == 1 and not header.has("PerFrameFunctionalGroupsSequence"):
        return [Slice(header, 0, 1, pixels)]
    shared = [part for group in header.groups("SharedFunctionalGroupsSequence") for part in _macros(group)]
    frames = header.groups("PerFrameFunctionalGroupsSequence")
    if frames and len(frames) != count:
        raise BadFile(
            f"{header.name} has {named('NumberOfFrames')} = {count} but {len(frames)} items in "
            f"{named('PerFrameFunctionalGroupsSequence')}: restore or re-export the file"
        )
    base = header.merged(*shared)
    if not frames:
        base.spans.pop(TAGS["ImagePositionPatient"], None)  # one position cannot be that of every frame
    return [Slice(base.merged(*_macros(frames[n])) if frames else base, n, count, pixels) for n in range(count)]


def _counted(header: Header, pixels: Pixels) -> int:
    """Frames that the pixels hold where the header gives no number, as where someone removed most of it."""
    _, start, length = header.pixel_data
    if length == UNDEFINED:
        return min(count_frames(header), MOST_FRAMES)
    frames, more = divmod(length if header.start else min(length, header.size - start), pixels.frame_bytes)
    return frames if 1 < frames <= MOST_FRAMES and more <= 1 else 1  # lengths are even


def check_stored(header: Header, pixels: Pixels, count: int) -> None:
    """Compare what the header claims with the bytes that are there, before anything is allocated.

    Raises:
        BadFile: pixels are missing, or the claim is beyond belief.
    """
    _, start, length = header.pixel_data
    claimed = pixels.frame_bytes * count
    what = f"{named('Rows')} x {named('Columns')} x {count} frames = {claimed} bytes of pixels"
    if claimed > MAX_BYTES:
        raise BadFile(f"{header.name} claims {what}, more than the {MAX_BYTES >> 30} GiB allowed: leave it out")
    there = header.size - start
    if length == UNDEFINED or header.start:
        if claimed > FREE_BYTES and claimed > MOST_COMPRESSED * header.size:
            raise BadFile(f"{header.name} claims {what}, more than its {header.size} bytes can hold: restore it")
        return
    if min(length, there) < claimed:
        raise BadFile(
            f"{header.name} is truncated: it claims {what} but holds {max(min(length, there), 0)}; restore it from its "
            f"source"
        )


def _macros(group: Header) -> list[Header]:
    return [item for keyword in _GROUPS for item in group.groups(keyword)]


def _pixels(header: Header) -> Pixels:
    tag = header.pixel_data[0]
    real = next((bits for keyword, bits in _FLOATS.items() if TAGS[keyword] == tag), 0)
    photometric = header.text("PhotometricInterpretation").upper()
    samples = header.whole("SamplesPerPixel", 1, 4, default=1)
    if (photometric not in _GRAYS and _COLORS.get(photometric) != samples) or (photometric in _GRAYS and samples != 1):
        raise BadFile(
            f"{header.name} has {named('PhotometricInterpretation')} = {photometric or 'nothing'} with {samples} "
            f"samples per pixel, which is not read: convert it to gray values or RGB"
        )
    allocated = real or header.whole("BitsAllocated", 1, 64)
    if allocated not in (8, 16, 32, 64) or (allocated == 64 and not real):
        raise BadFile(f"{header.name} has {named('BitsAllocated')} = {allocated}: only 8, 16 and 32 bits are read")
    stored = real or header.whole("BitsStored", 1, allocated, default=allocated)
    return Pixels(
        header.whole("Rows", 1, 65535),
        header.whole("Columns", 1, 65535),
        samples,
        allocated,
        stored,
        real - 1 if real else header.whole("HighBit", stored - 1, allocated - 1, default=stored - 1),
        bool(header.whole("PixelRepresentation", 0, 1, default=0)) or bool(real),
        photometric,
        bool(header.whole("PlanarConfiguration", 0, 1, default=0)),
        bool(real),
    )
