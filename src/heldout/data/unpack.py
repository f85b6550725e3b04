"""Archives from elsewhere: unpacked inside one folder, within limits, or refused."""

from __future__ import annotations

import errno
import gzip
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from heldout.errors import UserError

MOST_INFLATED = 100  # times its own size that an archive may inflate to,
FREE_BYTES = 1 << 30  # or this
MOST_FILES = 5_000_000
RESERVE = 1 << 26  # bytes of the disk that stay free
CHUNK = 1 << 20
_DAMAGED = (
    *(zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error),
    *(EOFError, NotImplementedError, RuntimeError),
)


def unpack(path: Path, folder: Path) -> Path:
    """Unpack a zip, tar or gzip file; any other file is moved into the folder as it is.

    Links, devices and names that lead out of the folder are refused, and so is an archive that inflates to more than
    100 times its size (1 GiB at least) or to more than the disk holds.

    Args:
        path: The archive. It is left as it is.
        folder: An empty or missing folder; it is emptied first.

    Returns:
        The folder, or the only folder in it where there is nothing beside.

    Raises:
        UserError: the archive is damaged or refused; nothing is left of it then.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    left = min(max(FREE_BYTES, MOST_INFLATED * path.stat().st_size), shutil.disk_usage(folder).free - RESERVE)
    number = 0
    try:
        for name, source in _members(path):
            number += 1
            if number > MOST_FILES:
                raise UserError(f"{path} holds more than {MOST_FILES} files: unpack it yourself if you trust it")
            place = folder / _safe(path, name)
            place.parent.mkdir(parents=True, exist_ok=True)
            with open(place, "xb") as handle:
                while data := source.read(CHUNK):
                    left -= len(data)
                    if left < 0:
                        raise UserError(
                            f"{path} inflates to more than {MOST_INFLATED} times its size or than the disk holds: free "
                            f"some space, or unpack it yourself if you trust it"
                        )
                    handle.write(data)
    except FileExistsError as error:
        shutil.rmtree(folder)
        raise UserError(f"{path} holds {Path(error.filename).name} twice: ask its publisher for a sound one") from None
    except _DAMAGED as error:
        shutil.rmtree(folder)
        raise UserError(f"{path} is damaged ({error}): delete it and download it again") from None
    except OSError as error:
        shutil.rmtree(folder)
        if error.errno not in (errno.ENAMETOOLONG, errno.ENOTDIR):
            raise
        raise UserError(
            f"{path} holds the name {Path(error.filename).name[:60]!r}, which cannot be written here "
            f"({error.strerror}): unpack it yourself if you trust it"
        ) from None
    except BaseException:
        shutil.rmtree(folder)
        raise
    inside = list(folder.iterdir())
    return inside[0] if len(inside) == 1 and inside[0].is_dir() else folder


def _members(path: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Names and contents of the files in an archive; the file itself where it is none."""
    if zipfile.is_zipfile(path) and path.suffix != ".npz":
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                if stat.S_ISLNK(info.external_attr >> 16):
                    raise UserError(f"{path} holds the link {info.filename}: unpack it yourself if you trust it")
                if not info.is_dir():
                    with archive.open(info) as source:
                        yield info.filename, source
    elif tarfile.is_tarfile(path):
        with tarfile.open(path) as archive:
            for member in archive:
                if member.isfile():
                    content = archive.extractfile(member)
                    assert content is not None, "a regular file has content"
                    yield member.name, content
                elif not member.isdir():
                    raise UserError(
                        f"{path} holds the link or device {member.name}: unpack it yourself if you trust it"
                    )
    elif path.suffix == ".gz" and not path.name.endswith(".nii.gz"):
        with gzip.open(path) as packed:
            yield path.stem, packed  # type: ignore[misc]
    else:
        with open(path, "rb") as plain:
            yield path.name, plain


def _safe(path: Path, name: str) -> Path:
    parts = PurePosixPath(name).parts
    odd = ".." in parts or PurePosixPath(name).is_absolute() or PureWindowsPath(name).drive or "\\" in name
    if odd or not parts or "\0" in name:
        raise UserError(f"{path} holds the name {name!r}, which leads out of its folder: do not use it")
    return Path(*(os.fsdecode(os.fsencode(part)) for part in parts))
