"""Downloads of datasets: resumed where they were cut, verified, and unpacked below ``input/``."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import http.client
import json
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from pydantic import Field

from heldout import files
from heldout.data.kaggle import download_archive
from heldout.data.sources import SOURCES, source_class
from heldout.data.sources.download import Download
from heldout.data.unpack import unpack
from heldout.errors import UserError
from heldout.progress import progress_bar
from heldout.records import Record

if TYPE_CHECKING:
    from heldout.config import BaseConfig

CHUNK = 1 << 20  # bytes
TRIES = 5  # in a row that bring nothing
WAIT = 1.0  # seconds before the second try, doubled before each further one
TIMEOUT = 30.0  # seconds without a byte
RECORD = ".download.json"  # in the dataset's folder: where it came from


class DownloadRecord(Record):
    """``.download.json`` in the folder of a dataset: see :class:`heldout.data.sources.download.Download`.

    Attributes:
        sha256: Of the file that was downloaded.
    """

    schema_version: int = Field(default=1, alias="schema")
    url: str
    checksum: str
    size: int | None
    license: str
    kaggle: str
    sha256: str


def known_downloads() -> dict[str, Download]:
    """The download of every dataset that a source declares, by the dataset's name."""
    return {name: one for source in SOURCES for name, one in source_class(source).downloads.items()}


def download_missing(config: BaseConfig) -> str:
    """Download the dataset of an experiment unless it is here: as its source declares, or from its competition.

    Returns:
        What was done, in words.

    Raises:
        UserError: neither says where it comes from, or it cannot be downloaded.
    """
    kind, name = source_class(config.source), config.dataset or config.source
    with contextlib.suppress(UserError):
        kind.locate(name, config.source_options)
        return f"{name} is here"
    found = kind.downloads.get(name) or (Download(kaggle=config.competition) if config.competition else None)
    if found is None:
        raise UserError(
            f"nothing says where {name} comes from: put it below input/, download it with `python run.py download "
            f'{name} --url URL`, or set `competition = "its-slug"` in the experiment'
        )
    return f"downloaded {download_dataset(name, found)}"


def download_dataset(name: str, download: Download, *, quiet: bool = False) -> Path:
    """Download a dataset to ``input/<name>``.

    What was loaded of it before is kept in ``input/.downloads/`` and resumed. The folder appears only when all is
    verified and unpacked.

    Args:
        name: Of the dataset.
        download: Where it comes from.
        quiet: Show no progress.

    Returns:
        The folder.

    Raises:
        UserError: the folder exists, the server does not deliver the file that was declared, the disk is too small,
            or the archive is damaged or unsafe.
    """
    target = files.home() / "input" / name
    if not name or name != Path(name).name or name.startswith("."):
        raise UserError(f"{name!r} cannot be the name of a dataset's folder: use letters, digits, '_' and '-'")
    if target.exists():
        raise UserError(f"{target} exists: delete or rename it to download the dataset again")
    place = target.parent / ".downloads" / name
    with files.lock(place, f"downloading {name}"):
        path = download_archive(download.kaggle, place) if download.kaggle else fetch(download, place, quiet=quiet)
        folder = unpack(path, place / "unpacked")
        record = DownloadRecord(**asdict(download), sha256=files.sha256_file(path))
        files.write_json(folder / RECORD, record.to_json())
        folder.rename(target)
    shutil.rmtree(place)
    return target


def fetch(download: Download, folder: Path, *, quiet: bool = False, wait: float = WAIT) -> Path:
    """Download one file, going on where an earlier call or a cut connection stopped, and verify it.

    Args:
        download: What, with an address.
        folder: Where the file goes; an unfinished one ends in ``.part``.
        quiet: Show no progress.
        wait: Seconds before the second try.

    Raises:
        UserError: the server refuses, sends another file than declared, or cannot be reached; or the disk is full.
    """
    path = folder / (unquote(urlsplit(download.url).path).rsplit("/", 1)[-1].lstrip(".") or "file")
    if not path.exists():
        with progress_bar(disable=quiet) as bar:
            task = bar.add_task(f"Downloading {path.name} (MiB)", total=None)
            _fetch(
                download,
                path.with_name(path.name + ".part"),
                lambda have, total: bar.update(task, completed=have >> 20, total=total and total >> 20),
                wait,
            )
        path.with_name(path.name + ".part").rename(path)
        path.with_name(path.name + ".json").unlink(missing_ok=True)
    if download.checksum:
        method, _, digits = download.checksum.partition(":")
        with open(path, "rb") as handle:
            found = hashlib.file_digest(handle, method).hexdigest()
        if found != digits:
            path.unlink()
            raise UserError(
                f"{download.url} has the {method} {found}, declared is {digits}: it was deleted; download it again, "
                f"and if that gives the same, ask its publisher for the right checksum"
            )
    return path


def _fetch(download: Download, part: Path, show: Callable[[int, int | None], None], wait: float) -> None:
    failed = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            _receive(download, part, show)
        except (http.client.HTTPException, OSError) as error:
            if isinstance(error, urllib.error.HTTPError) and error.code < 500 and error.code not in (408, 416, 429):
                raise UserError(f"{download.url} cannot be downloaded (HTTP {error.code}): check its address") from None
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise UserError(
                    f"the disk of {part.parent} is full: free some space and run the command again, it resumes from "
                    f"what is loaded"
                ) from None
            gained = part.exists() and part.stat().st_size > before
            failed = 0 if gained else failed + 1
            if failed >= TRIES:
                reason = getattr(error, "reason", None) or error
                raise UserError(
                    f"{download.url} cannot be reached ({reason}): run the command again later, it resumes from what "
                    f"is loaded"
                ) from None
            time.sleep(wait * 2 ** max(failed - 1, 0))
        else:
            return


def _receive(download: Download, part: Path, show: Callable[[int, int | None], None]) -> None:
    """Receive what is missing of a file; raises where the connection ends before it is complete."""
    part.parent.mkdir(parents=True, exist_ok=True)
    about = part.with_name(part.name.removesuffix(".part") + ".json")
    have, version = (part.stat().st_size if part.exists() else 0), _version(about, download.url)
    if have and not version and not download.checksum:
        have = 0  # nothing tells whether the rest would be of the same file
    request = urllib.request.Request(download.url, headers={"User-Agent": "heldout", "Accept-Encoding": "identity"})
    if have:
        request.add_header("Range", f"bytes={have}-")
        if version:
            request.add_header("If-Range", version)
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and have:  # nothing is left to send, or the file is another one
            size = error.headers.get("Content-Range", "").rpartition("/")[2]
            if size == str(have):
                return
            part.unlink()
        raise
    with response:
        start = _start_of(response.headers.get("Content-Range", "")) if response.status == 206 else 0
        if start != have:  # the server sends all of it, or another part than asked for
            have = 0
            if start:
                part.unlink(missing_ok=True)
                raise http.client.HTTPException(f"bytes from {start} on came unasked")
        left = int(response.headers["Content-Length"]) if response.headers.get("Content-Length") else None
        total = None if left is None else have + left
        if download.size is not None and total not in (None, download.size):
            raise UserError(f"{download.url} has {total} bytes, declared are {download.size}: check address and size")
        _require_space(part.parent, left)
        etag = response.headers.get("ETag", "")
        strong = etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified", "")
        files.write_json(about, {"url": download.url, "version": strong})
        with open(part, "ab" if have else "wb") as handle:
            while data := response.read(CHUNK):
                have += len(data)
                if have > (download.size if download.size is not None else have):
                    raise UserError(f"{download.url} sends more than the {download.size} bytes declared: check it")
                handle.write(data)
                handle.flush()
                show(have, total or download.size)
    if have < (total or download.size or 0):
        raise http.client.IncompleteRead(b"", (total or download.size or 0) - have)


def _require_space(folder: Path, needed: int | None) -> None:
    free = shutil.disk_usage(folder).free
    if needed is not None and needed > free:
        raise UserError(
            f"the disk of {folder} has {free >> 20} MiB free, the download needs {needed >> 20} MiB: free some space"
        )


def _version(about: Path, url: str) -> str:
    """What the server called the version of the file of which a part is there; "" where it is unknown."""
    with contextlib.suppress(OSError, ValueError):
        found: Mapping[str, Any] = json.loads(about.read_text(encoding="utf-8"))
        if found.get("url") == url:
            return str(found.get("version", ""))
    return ""


def _start_of(content_range: str) -> int:
    first = content_range.removeprefix("bytes ").partition("-")[0]
    return int(first) if first.isdigit() else -1
