"""Where DICOM bytes come from: files, folders, zip archives, lists of files."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from heldout.data.image import BadFile, unreadable

MAX_BYTES = 2**32  # of one volume, or of what an archive may inflate to
FREE_BYTES = 1 << 26  # a compressed file or an archive may claim this much however short it is
MOST_INFLATED = 100  # and an archive this many times its own size beyond


class FileBlob:
    """A file, opened anew for every read, so that a series of any length holds no handles."""

    def __init__(self, path: Path) -> None:
        """Take a path; nothing is read."""
        self.path = path

    @property
    def name(self) -> str:
        """For messages."""
        return str(self.path)

    def head(self, count: int) -> tuple[bytes, int]:
        """The first ``count`` bytes, and the size of the file.

        Raises:
            BadFile: the file cannot be read.
        """
        try:
            handle = os.open(self.path, os.O_RDONLY)
            try:
                return os.read(handle, count), os.fstat(handle).st_size
            finally:
                os.close(handle)
        except OSError as error:
            raise unreadable(self.path, error) from None

    def read(self, offset: int, count: int) -> bytes:
        """``count`` bytes, or fewer at the end of the file."""
        try:
            with open(self.path, "rb", buffering=0) as handle:
                handle.seek(offset)
                return handle.read(count)
        except OSError as error:
            raise unreadable(self.path, error) from None

    def read_into(self, offset: int, target: memoryview) -> int:
        """Fill ``target``; the number of bytes that were there."""
        try:
            with open(self.path, "rb", buffering=0) as handle:
                handle.seek(offset)
                return handle.readinto(target) or 0
        except OSError as error:
            raise unreadable(self.path, error) from None


class BytesBlob:
    """A member of an archive, in memory."""

    def __init__(self, name: str, data: bytes) -> None:
        """Take a name for messages and the bytes."""
        self.name, self._data = name, data

    def head(self, count: int) -> tuple[bytes, int]:
        """As :meth:`FileBlob.head`."""
        return self._data[:count], len(self._data)

    def read(self, offset: int, count: int) -> bytes:
        """As :meth:`FileBlob.read`."""
        return self._data[offset : offset + count]

    def read_into(self, offset: int, target: memoryview) -> int:
        """As :meth:`FileBlob.read_into`."""
        part = self._data[offset : offset + len(target)]
        target[: len(part)] = part
        return len(part)


Blob = FileBlob | BytesBlob


def open_blobs(source: Path | str | Iterable[Path | str]) -> Iterator[Blob]:
    """Everything that may be DICOM in a file, a folder with all its sub-folders, a zip archive, or a list of files.

    Raises:
        BadFile: a file, a folder or an archive does not exist or is damaged.
    """
    if not isinstance(source, str | os.PathLike):
        for path in source:
            yield from open_blobs(path)
        return
    path = Path(source)
    if path.is_dir():
        yield from (FileBlob(file) for file in files_below(path))
    else:
        blob = FileBlob(path)
        yield from _members(path) if blob.head(4)[0] == b"PK\3\4" else [blob]


def files_below(folder: Path) -> Iterator[Path]:
    """Files of a tree in the order of their names, hidden ones left out; one folder at a time is held in memory.

    Links to folders are followed, save those that lead back up the tree.

    Raises:
        BadFile: a folder cannot be listed.
    """
    try:
        with os.scandir(folder) as entries:
            listed = sorted((entry.name, _is_folder(entry)) for entry in entries if not _hidden(entry.name))
    except OSError as error:
        raise unreadable(folder, error) from None
    for name, is_folder in listed:
        if is_folder is None:
            continue
        if is_folder:
            yield from files_below(folder / name)
        else:
            yield folder / name


def _is_folder(entry: os.DirEntry[str]) -> bool | None:
    """Whether it is a folder; None for a link to one that it lies in, which would never end."""
    if not entry.is_dir():
        return False
    up = entry.is_symlink() and Path(entry.path).parent.resolve().is_relative_to(Path(entry.path).resolve())
    return None if up else True


def _hidden(name: str) -> bool:
    return name.startswith((".", "__MACOSX"))


def _members(path: Path) -> Iterator[BytesBlob]:
    try:
        left = most = min(MAX_BYTES, max(FREE_BYTES, MOST_INFLATED * path.stat().st_size))
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                if member.is_dir() or any(_hidden(part) for part in Path(member.filename).parts):
                    continue
                with archive.open(member) as handle:
                    data = handle.read(min(left, member.file_size) + 1)
                left -= len(data)
                if left < 0 or len(data) > member.file_size:
                    raise BadFile(f"{path} inflates to more than {most >> 20} MiB: unpack it and name its folder")
                yield BytesBlob(f"{path}/{member.filename}", data)
    except (OSError, RuntimeError, NotImplementedError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise BadFile(f"{path} is a damaged or encrypted zip archive ({error}): restore it or unpack it") from None
