"""Uploads become files of our own names in a folder of the request: no name or path of a request is ever used."""

from __future__ import annotations

import contextlib
import fcntl
import json
import mmap
import os
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from heldout.data.image import BadFile
from heldout.data.readers import format_of
from heldout.files import FULL

ENDINGS = {"png": ".png", "jpeg": ".jpg", "tiff": ".tif", "nifti": ".nii.gz", "dicom": ".dcm", "zip": ".zip"}
LARGEST_LIST = 1024
_MOST_MEMBERS = 4096
_MEMBER = b"PK\x01\x02"  # begins an entry of an archive's directory
_PREFIX = "heldout-serve-"


class Refused(Exception):  # noqa: N818 - an answer, not an error of ours
    """A request that is answered with a status and one sentence."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


class PrivateFolder:
    """A folder of this process for uploads. It is locked, so that others see whether it is left over."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix=_PREFIX))
        self._handle = os.open(self.path, os.O_RDONLY)
        fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def remove(self) -> None:
        """Remove it with all that it holds."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._handle)


def remove_leftovers() -> None:
    """Remove uploads that a killed service left behind: nobody holds the lock of their folder."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        try:
            handle = os.open(folder, os.O_RDONLY)
        except OSError:  # another user's, or just removed
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except BlockingIOError:  # a service that runs
            pass
        finally:
            os.close(handle)


@contextlib.contextmanager
def request_folder(root: Path) -> Iterator[Path]:
    """A folder of a request's own, gone afterwards."""
    folder = Path(tempfile.mkdtemp(dir=root))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def name_by_content(path: Path, part: str, limit: int) -> str:
    """Give a file the ending of its content; the members of a zip archive become a folder of its name.

    Args:
        path: The file as it was stored.
        part: What the request called it, for messages.
        limit: Largest content of an archive, in bytes.

    Returns:
        Its format; ``series`` of a DICOM file with several images, ``dicom`` of one with a single image.

    Raises:
        Refused: 415 where it is not an image, 413 or 422 where an archive is too large or damaged.
    """
    kind = format_of(path)
    if kind not in ENDINGS:
        raise Refused(415, f"{part} is not PNG, JPEG, TIFF, NIfTI, DICOM or a zip of DICOM files: send one of these")
    named = path.rename(path.with_name(path.name + ENDINGS[kind]))
    if kind == "zip":
        inflate(named, path, part, limit)
        named.unlink()
        files = list(path.iterdir())
        if len(files) > 1 or format_of(files[0]) != "dicom":
            return kind
        kind, named = "dicom", files[0].rename(path.with_name(path.name + ".dcm"))  # as if it were sent without the zip
        path.rmdir()
    return "series" if kind == "dicom" and _has_frames(named) else kind


def _has_frames(path: Path) -> bool:
    """Whether a DICOM file holds several images."""
    from heldout.data.readers.dicom import find_series

    try:
        return sum(len(series.slices) for series in find_series(path)[0]) > 1
    except BadFile:  # said in full when it is read
        return False


def inflate(archive: Path, folder: Path, part: str, limit: int) -> None:
    """Unpack the files of an archive under numbers, in the order of their names.

    Raises:
        Refused: it is damaged, holds no file, or more than ``limit`` bytes, or is encrypted.
    """
    folder.mkdir()
    _check_members(archive, part)
    try:
        with zipfile.ZipFile(archive) as opened:
            members = sorted((one for one in opened.infolist() if not one.is_dir()), key=lambda one: one.filename)
            members = [one for one in members if not _is_rubbish(one.filename)]
            if not members:
                raise Refused(422, f"{part} is an archive without files: send the DICOM files of one series")
            left = limit
            for number, member in enumerate(members):
                if member.flag_bits & 1:
                    raise Refused(422, f"{part} is encrypted: send an archive without a password")
                with opened.open(member) as source, open(folder / f"{number:05d}", "wb") as target:
                    while chunk := source.read(min(1 << 20, left + 1)):
                        left -= len(chunk)
                        if left < 0:
                            raise Refused(
                                413, f"{part} inflates to more than {limit >> 20} MB: send fewer or smaller files"
                            )
                        target.write(chunk)
    except (zipfile.BadZipFile, NotImplementedError, EOFError, zlib.error, ValueError, OSError) as error:
        if isinstance(error, OSError) and error.errno in FULL:
            raise  # ours, not the archive's
        raise Refused(422, f"{part} is a damaged archive: pack it again") from None  # the error may quote its names


def _check_members(archive: Path, part: str) -> None:
    """Refuse an archive of too many files before its directory is read, which takes memory for each of them."""
    with open(archive, "rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as content:
        count, at = 0, content.find(_MEMBER)
        while at >= 0 and count <= _MOST_MEMBERS:
            count, at = count + 1, content.find(_MEMBER, at + len(_MEMBER))
    if count > _MOST_MEMBERS:
        raise Refused(413, f"{part} holds more than {_MOST_MEMBERS} files: send fewer")


def _is_rubbish(name: str) -> bool:
    return name.startswith("__MACOSX/") or name.rpartition("/")[2] in (".DS_Store", "DICOMDIR", "Thumbs.db")


def parse_json(body: bytes) -> dict[str, Any]:
    """The object of a JSON body.

    Raises:
        Refused: 422 for anything else.
    """
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise Refused(422, 'the body is not JSON: send {"image": [[...]]}, or a file as multipart/form-data') from None
    if not isinstance(found, dict):
        raise Refused(422, 'the body is not a JSON object: send {"image": [[...]]}')
    return found


def store_pixels(values: Any, path: Path, part: str) -> str:
    """Write an image sent as lists of pixels, whole numbers as PNG, others as float32 TIFF.

    Args:
        values: Rows of pixels, or rows of [r, g, b].
        path: File to write, without ending.
        part: Its place in the body, for messages.

    Returns:
        The format.

    Raises:
        Refused: 422 or 413 where it is not such an image.
    """
    if not isinstance(values, list) or not values or not isinstance(values[0], list):
        raise Refused(422, f"{part} is not a list of rows of pixels: send [[0, 12, ...], ...]")
    if len(values) > LARGEST_LIST or any(len(row) > LARGEST_LIST for row in values if isinstance(row, list)):
        raise Refused(413, f"{part} is larger than {LARGEST_LIST} x {LARGEST_LIST}: send it as a PNG file")
    try:
        array = np.asarray(values)
        if array.dtype == bool or array.dtype.kind not in "iuf" or array.ndim not in (2, 3) or not array.size:
            raise ValueError
    except (ValueError, OverflowError):
        raise Refused(
            422, f"{part} has rows of different length or values that are not numbers: send rows of equal length"
        ) from None
    if not np.isfinite(array).all():
        raise Refused(422, f"{part} holds NaN or infinite pixels: replace them")
    if array.ndim == 3 and array.shape[2] not in (1, 3):
        raise Refused(422, f"{part} has {array.shape[2]} channels: send 1 or 3")
    import cv2

    whole = bool((array == np.rint(array)).all()) and array.min() >= 0 and array.max() < 1 << 16
    kind: type = np.float32
    if whole:
        kind = np.uint8 if array.max() < 256 else np.uint16
    colors: np.ndarray = (
        array.astype(kind)[..., ::-1] if array.ndim == 3 and array.shape[2] == 3 else array.astype(kind)
    )
    ending = ".png" if whole else ".tif"
    path.with_suffix(ending).write_bytes(cv2.imencode(ending, np.ascontiguousarray(colors))[1].tobytes())
    return "png" if whole else "tiff"
