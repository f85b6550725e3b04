"""The bytes of a DICOM data set, walked once and without recursion (PS3.5 chapter 7).

Only what is asked for is kept; everything else is stepped over by its length. That makes a header pass several times
faster than building every element, and a hostile file can neither nest, nor claim, its way to memory or a crash.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from heldout.data.readers.dicom.tags import PIXELS, numbered

UNDEFINED = 0xFFFFFFFF
DEEPEST = 32
_LONG = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
_SHORT = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
_ITEM, _ITEM_END, _SEQUENCE_END = 0xE000, 0xE00D, 0xE0DD

Span = tuple[int, int, bytes]  # first byte, byte after the last, value representation ("" where implicit)


class Short(Exception):  # noqa: N818 - not an error where more bytes can be had
    """The bytes end within an element; ``tag`` names it."""

    def __init__(self, tag: str) -> None:
        super().__init__(f"it ends within the element {tag}")


class Damaged(Exception):  # noqa: N818 - the name says what is damaged
    """The bytes are not a data set."""


@dataclass(frozen=True)
class Encoding:
    """How elements are written: value representations left out or not, and the byte order."""

    implicit: bool = False
    big: bool = False

    @property
    def order(self) -> str:
        """Byte order as ``struct`` and NumPy write it."""
        return ">" if self.big else "<"


@dataclass
class Elements:
    """Where the wanted elements of one data set lie, and where its pixels begin (None where it has none)."""

    spans: dict[int, Span]
    pixels: tuple[int, int, int] | None  # tag, first byte, length


def scan(data: bytes, position: int, end: int, encoding: Encoding, wanted: frozenset[int]) -> Elements:
    """Walk one data set, or one item, up to its pixels or its end.

    Args:
        data: Bytes from the beginning of the file; may end early.
        position: First byte to look at.
        end: Byte after the last.
        encoding: How the elements are written.
        wanted: Tags to keep.

    Raises:
        Short: an element reaches beyond ``end``.
        Damaged: a value representation is none, or sequences nest too deep.
    """
    spans: dict[int, Span] = {}
    read, read_long, implicit = _readers(encoding)
    while position < end:
        if position + 8 > end:
            raise Short("header")
        group, element, vr, length = read(data, position)
        if group == 0xFFFE:
            return Elements(spans, None)
        tag = group << 16 | element
        position += 8
        if implicit:
            vr, length = b"", read_long(data, position - 4)[0]
        elif vr in _LONG:
            if position + 4 > end:
                raise Short(numbered(tag))
            length = read_long(data, position)[0]
            position += 4
        elif vr not in _SHORT:
            raise Damaged(f"the element {numbered(tag)} at byte {position - 8} has no value representation")
        if tag in PIXELS:
            return Elements(spans, (tag, position, length))
        stop = _after(data, position, end, encoding, vr) if length == UNDEFINED else position + length
        if stop > end:
            raise Short(numbered(tag))
        if tag in wanted:
            spans[tag] = (position, stop, vr)
        position = stop
    return Elements(spans, None)


def items(data: bytes, span: Span, encoding: Encoding) -> Iterator[tuple[int, int]]:
    """First byte, and byte after the last, of every item of a sequence.

    Raises:
        Short: an item reaches beyond the sequence.
        Damaged: there is something else than an item.
    """
    position, end, _ = span
    read, read_long, _ = _readers(encoding)
    while position + 8 <= end:
        group, element, _, _ = read(data, position)
        if (group, element) == (0xFFFE, _SEQUENCE_END):
            return
        if (group, element) != (0xFFFE, _ITEM):
            raise Damaged(f"a sequence holds ({group:04X},{element:04X}) at byte {position} instead of an item")
        length = read_long(data, position + 4)[0]
        stop = _after(data, position + 8, end, encoding, b"") if length == UNDEFINED else position + 8 + length
        if stop > end:
            raise Short("of a sequence")
        yield position + 8, stop
        position = stop


def _after(data: bytes, position: int, end: int, encoding: Encoding, vr: bytes) -> int:
    """Byte after a sequence or an item of undefined length."""
    read, read_long, implicit = _readers(encoding)
    open_parts = [implicit or vr == b"UN"]  # what an unknown element holds is always implicit
    while open_parts:
        if position + 8 > end:
            raise Short("of a sequence")
        group, element, vr, length = read(data, position)
        position += 8
        if group == 0xFFFE:
            length = read_long(data, position - 4)[0]
            if element != _ITEM:
                open_parts.pop()
            elif length == UNDEFINED:
                open_parts.append(open_parts[-1])
            else:
                position += length
        else:
            if open_parts[-1]:
                length = read_long(data, position - 4)[0]
            elif vr in _LONG:
                if position + 4 > end:
                    raise Short("of a sequence")
                length = read_long(data, position)[0]
                position += 4
            elif vr not in _SHORT:
                raise Damaged(f"the element ({group:04X},{element:04X}) at byte {position - 8} has no known type")
            if length == UNDEFINED:
                open_parts.append(open_parts[-1] or vr == b"UN")
            else:
                position += length
        if len(open_parts) > DEEPEST:
            raise Damaged(f"its sequences nest deeper than {DEEPEST} levels")
    return position


_BOTH = {False: (struct.Struct("<HH2sH"), struct.Struct("<I")), True: (struct.Struct(">HH2sH"), struct.Struct(">I"))}


def _readers(encoding: Encoding) -> tuple:
    short, long = _BOTH[encoding.big]
    return short.unpack_from, long.unpack_from, encoding.implicit


def looks_explicit(data: bytes, position: int) -> bool:
    """Whether the element at ``position`` names a value representation."""
    return data[position + 4 : position + 6] in _LONG | _SHORT
