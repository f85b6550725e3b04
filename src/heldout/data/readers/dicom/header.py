"""The header of one DICOM object: read before anything is allocated, and checked where it is asked."""

from __future__ import annotations

import math
import struct
import zlib
from dataclasses import dataclass
from typing import Self, overload

from heldout.data.image import BadFile
from heldout.data.readers.dicom import elements
from heldout.data.readers.dicom.blobs import Blob
from heldout.data.readers.dicom.elements import Damaged, Elements, Encoding, Short, Span
from heldout.data.readers.dicom.tags import (
    DOUBLE,
    TAGS,
    UNSIGNED_LONG,
    UNSIGNED_SHORT,
    WANTED,
    named,
)

FIRST_READ = 1 << 14  # most headers are shorter
LONGEST = 1 << 26  # of all that precedes the pixels; 20,000 frames of an enhanced object need about half
LARGEST = 1e30  # numbers beyond are damage, and would overflow in single precision
IMPLICIT, BIG_ENDIAN, DEFLATED = "1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"
EXPLICIT, RLE = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.5"
_FORMATS = {b"US": "H", b"SS": "h", b"UL": "I", b"SL": "i", b"FL": "f", b"FD": "d", b"UV": "Q", b"SV": "q"}
_META = Encoding()


class NoDicom(BadFile):
    """The file has another format."""


@dataclass
class Header:
    """Values before the pixels of one object, and where the pixels are.

    Attributes:
        blob: The file.
        syntax: Transfer syntax UID.
        encoding: Of the data set.
        data: Bytes that ``spans`` point into.
        spans: Where wanted elements lie.
        pixels: Tag, first byte and length of the pixels (in the inflated data where ``start`` is set), or None.
        size: Bytes of the file.
        start: Where the deflated part of the file begins; 0 where nothing is deflated.
    """

    blob: Blob
    syntax: str
    encoding: Encoding
    data: bytes
    spans: dict[int, Span]
    pixels: tuple[int, int, int] | None
    size: int
    start: int = 0

    @property
    def name(self) -> str:
        """The file, for messages."""
        return self.blob.name

    @property
    def pixel_data(self) -> tuple[int, int, int]:
        """``pixels``; an object without any is a :class:`BadFile`."""
        if self.pixels is None:
            raise BadFile(f"{self.name} has no {named('PixelData')}: leave it out")
        return self.pixels

    def has(self, keyword: str) -> bool:
        """Whether an element is there and not empty."""
        start, stop, _ = self.spans.get(TAGS[keyword], (0, 0, b""))
        return stop > start

    def text(self, keyword: str) -> str:
        """Value of a text element, "" where it is missing."""
        span = self.spans.get(TAGS[keyword])
        if span is None:
            return ""
        return self.data[span[0] : span[1]].decode("latin-1").strip(" \0\r\n\t")

    def numbers(self, keyword: str, count: int | None = None) -> tuple[float, ...] | None:
        """Values of a numeric element, None where it is missing or empty.

        Raises:
            BadFile: they are not finite numbers, or not ``count`` of them.
        """
        tag = TAGS[keyword]
        span = self.spans.get(tag)
        if span is None or span[1] == span[0]:
            return None
        raw, kind = self.data[span[0] : span[1]], self._format(tag, span[2])
        try:
            if kind:
                width = struct.calcsize(kind)
                values = struct.unpack(f"{self.encoding.order}{len(raw) // width}{kind}", raw)
            else:
                text = raw.decode("latin-1").strip(" \0")
                if not text:
                    return None
                values = tuple(float(part) for part in text.split("\\"))
        except (struct.error, ValueError):
            values = (math.nan,)
        if not all(abs(value) < LARGEST for value in values) or count not in (None, len(values)):
            shown = raw[:40].decode("latin-1") if not kind else values[:8]
            wanted = f"{count} finite numbers" if count else "finite numbers"
            raise BadFile(f"{self.name} has {named(keyword)} = {shown!r}, not {wanted}: restore or re-export the file")
        return values

    @overload
    def number(self, keyword: str, default: float) -> float: ...

    @overload
    def number(self, keyword: str, default: None = None) -> float | None: ...

    def number(self, keyword: str, default: float | None = None) -> float | None:
        """First value of a numeric element.

        Raises:
            BadFile: it is not a finite number.
        """
        values = self.numbers(keyword)
        return default if not values else values[0]

    def whole(self, keyword: str, low: int, high: int, default: int | None = None) -> int:
        """A whole number from ``low`` to ``high``.

        Raises:
            BadFile: the element is missing and has no default, or holds something else.
        """
        value = self.number(keyword, default)
        if value is None:
            raise BadFile(f"{self.name} has no {named(keyword)}: restore or re-export the file")
        if value != int(value) or not low <= value <= high:
            raise BadFile(
                f"{self.name} has {named(keyword)} = {value:g}, expected {low} ... {high}: restore or re-export it"
            )
        return int(value)

    def groups(self, keyword: str) -> list[Header]:
        """Items of a sequence, each as a header of its own.

        Raises:
            BadFile: the sequence is damaged.
        """
        span = self.spans.get(TAGS[keyword])
        if span is None:
            return []
        encoding = Encoding(self.encoding.implicit or span[2] == b"UN", self.encoding.big)
        try:
            return [
                Header(
                    self.blob,
                    self.syntax,
                    encoding,
                    self.data,
                    elements.scan(self.data, first, stop, encoding, WANTED).spans,
                    None,
                    self.size,
                )
                for first, stop in elements.items(self.data, span, encoding)
            ]
        except (Short, Damaged) as error:
            raise BadFile(f"{self.name} is damaged in {named(keyword)}: {error}; restore the file") from None

    def merged(self, *others: Header) -> Self:
        """This header with the elements of ``others`` laid over it; all must be of the same file."""
        spans = dict(self.spans)
        for other in others:
            spans.update(other.spans)
        return type(self)(self.blob, self.syntax, self.encoding, self.data, spans, self.pixels, self.size, self.start)

    def _format(self, tag: int, vr: bytes) -> str:
        if vr in _FORMATS:
            return _FORMATS[vr]
        if vr in (b"", b"UN", b"OB", b"OW"):
            return "H" if tag in UNSIGNED_SHORT else "d" if tag in DOUBLE else "I" if tag in UNSIGNED_LONG else ""
        return ""


def read_header(blob: Blob) -> Header:
    """Read a file up to its pixels, in as few bytes as will do.

    Raises:
        NoDicom: the file is not a DICOM file.
        BadFile: it is one, but damaged or too long before its pixels.
    """
    count = FIRST_READ
    while True:
        data, size = blob.head(count)
        try:
            return _parse(blob, data, size)
        except Short as error:
            if len(data) >= size:
                raise BadFile(f"{blob.name} is truncated: {error}; restore it from its source") from None
            if count >= LONGEST:
                raise BadFile(
                    f"{blob.name} has more than {LONGEST >> 20} MiB before its PixelData (7FE0,0010): it is damaged "
                    f"or hostile; leave it out"
                ) from None
            count = min(count * 16, LONGEST)
        except Damaged as error:
            raise BadFile(f"{blob.name} is damaged: {error}; restore it from its source") from None


def inflate(blob: Blob, data: bytes, limit: int) -> bytes:
    """Inflate what follows the file meta information, but no more than ``limit`` bytes.

    Raises:
        BadFile: the stream is damaged.
    """
    try:
        return zlib.decompressobj(wbits=-15).decompress(data, limit)
    except zlib.error as error:
        raise BadFile(
            f"{blob.name} is damaged: its deflated data set cannot be inflated ({error}); restore it"
        ) from None


def _parse(blob: Blob, data: bytes, size: int) -> Header:
    start = _beginning(blob, data)
    meta = _META
    syntax, position = "", start
    if data[start : start + 2] == b"\x02\0":
        position, syntax = _meta(blob, data, start)
    first, shift = position, 0
    if syntax == DEFLATED:
        # A deflated stream cannot be read from its middle: take all of it, but inflate the header only.
        whole = blob.read(position, size - position)
        data, first, shift = inflate(blob, whole, FIRST_READ), 0, position
        meta = Encoding()
        try:
            found = elements.scan(data, 0, len(data), meta, WANTED)
        except Short:
            data = inflate(blob, whole, LONGEST)
            try:
                found = elements.scan(data, 0, len(data), meta, WANTED)
            except Short as error:
                reason = "has too much" if len(data) >= LONGEST else "is truncated"
                raise BadFile(
                    f"{blob.name} {reason} before its PixelData (7FE0,0010) ({error}, {len(data)} bytes inflated): "
                    f"it is damaged or hostile; restore it or leave it out"
                ) from None
        return _made(blob, syntax, meta, data, found, size, shift)
    encoding = _encoding(data, first, syntax)
    found = elements.scan(data, first, len(data), encoding, WANTED)
    if found.pixels is None and len(data) < size:
        raise Short("header")
    return _made(blob, syntax or (IMPLICIT if encoding.implicit else EXPLICIT), encoding, data, found, size)


def _made(
    blob: Blob, syntax: str, encoding: Encoding, data: bytes, found: Elements, size: int, start: int = 0
) -> Header:
    """A header that keeps no byte of the pixels."""
    kept = data[: found.pixels[1]] if found.pixels else data
    return Header(blob, syntax, encoding, kept, found.spans, found.pixels, size, start)


def _beginning(blob: Blob, data: bytes) -> int:
    """First byte of the file meta information, or of the data set where an old file has neither it nor a preamble."""
    if data[128:132] == b"DICM":
        return 132
    plain = data[:2] in (b"\x02\0", b"\x08\0") and data[3:4] == b"\0" and len(data) > 16
    if plain and (elements.looks_explicit(data, 0) or struct.unpack_from("<I", data, 4)[0] < 256):
        return 0
    raise NoDicom(f"{blob.name} is not a DICOM file: it lacks the letters DICM at byte 128; restore it or leave it out")


def _meta(blob: Blob, data: bytes, position: int) -> tuple[int, str]:
    """End of the file meta information, found by walking it (its stated length is often wrong), and the syntax."""
    syntax = ""
    while data[position : position + 2] == b"\x02\0":
        if position + 12 > len(data):
            raise Short("(0002,0010)")
        _, element, vr, length = struct.unpack_from("<HH2sH", data, position)
        position += 8
        if vr in (b"OB", b"UN"):
            length = struct.unpack_from("<I", data, position)[0]
            position += 4
        if position + length > len(data):
            raise Short(f"(0002,{element:04X})")
        if element == 0x0010:
            syntax = data[position : position + length].decode("latin-1").strip(" \0")
        position += length
    if not syntax:
        raise BadFile(f"{blob.name} has no {named('TransferSyntaxUID')}: restore or re-export the file")
    return position, syntax


def _encoding(data: bytes, position: int, syntax: str) -> Encoding:
    """As the syntax says, save that files which are written otherwise than they say are taken as they are."""
    if syntax == BIG_ENDIAN:
        return Encoding(big=True)
    return Encoding(implicit=not elements.looks_explicit(data, position))
