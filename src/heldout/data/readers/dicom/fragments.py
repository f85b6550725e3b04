"""Frames of a compressed object: one or more fragments each (PS3.5 annex A.4)."""

from __future__ import annotations

import struct

from heldout.data.image import BadFile
from heldout.data.readers.dicom.header import RLE, Header
from heldout.data.readers.dicom.tags import named

_ITEM, _END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
_STARTS = (b"\xff\xd8", b"\xff\x4f", b"\x00\x00\x00\x0cjP")
_MOST_FRAGMENTS, _BLOCK = 1 << 16, 1 << 12


def frames_of(header: Header, count: int) -> list[bytes]:
    """Code streams of the ``count`` frames of an object.

    Raises:
        BadFile: fragments are truncated, or cannot be told apart into frames.
    """
    data = header.blob.read(header.pixel_data[1], header.size - header.pixel_data[1])
    table, fragments = _fragments(header, data)
    if len(fragments) == count:
        return [piece for _, piece in fragments]
    if count == 1 and fragments:
        return [b"".join(piece for _, piece in fragments)]
    starts = set(table) if len(table) == count else None
    frames: list[list[bytes]] = []
    for offset, piece in fragments:
        if (offset in starts) if starts else piece.startswith(_STARTS):
            frames.append([])
        if frames:
            frames[-1].append(piece)
    if len(frames) != count:
        raise BadFile(
            f"{header.name} has {named('NumberOfFrames')} = {count} but {len(frames) or len(fragments)} compressed "
            f"frames in {named('PixelData')}: restore it from its source"
        )
    return [b"".join(pieces) for pieces in frames]


def count_frames(header: Header) -> int:
    """Frames of an object that does not say how many, by stepping over its fragments: at least 1.

    A fragment that begins as a code stream does begins a frame; of run lengths (PS3.5 annex G) every one is a frame.
    What is damaged is left for :func:`frames_of` to name.
    """
    position, fragments, starts = header.pixel_data[1], -1, 0  # the first item is the offset table
    block, first = b"", position
    while fragments < _MOST_FRAGMENTS:
        if position + 16 > first + len(block):
            block, first = header.blob.read(position, _BLOCK), position
        head = block[position - first : position - first + 16]
        if head[:4] != _ITEM:
            break
        fragments += 1
        starts += fragments > 0 and head[8:].startswith(_STARTS)
        position += 8 + int.from_bytes(head[4:8], "little")
    return max(1, starts or (fragments if header.syntax == RLE else 1))


def _fragments(header: Header, data: bytes) -> tuple[list[int], list[tuple[int, bytes]]]:
    """The basic offset table, and every fragment with its offset from the end of that table."""
    position, first = 0, 0
    table: list[int] | None = None
    found: list[tuple[int, bytes]] = []
    while True:
        mark = data[position : position + 4]
        if mark == _END and table is not None:
            return table, found
        length = int.from_bytes(data[position + 4 : position + 8], "little")
        if mark != _ITEM or position + 8 + length > len(data):
            raise BadFile(
                f"{header.name} is truncated or damaged: the fragment at byte {header.pixel_data[1] + position} of its "
                f"{named('PixelData')} does not end; restore it from its source"
            )
        piece = data[position + 8 : position + 8 + length]
        position += 8 + length
        if len(found) > _MOST_FRAGMENTS:
            raise BadFile(
                f"{header.name} has more than {_MOST_FRAGMENTS} fragments in {named('PixelData')}: it is damaged or "
                f"hostile; leave it out"
            )
        if table is None:
            table, first = list(struct.unpack_from(f"<{length // 4}I", piece)), position
        else:
            found.append((position - 8 - length - first, piece))
