"""Finished fits and sealed decisions at an address such as ``s3://bucket/project``, given as ``HELDOUT_HOME``.

Work is done in a folder of this machine. Before a command, what is finished there and not here is fetched; after it,
what is finished here and not there is sent. Files are listed, read and written at the address; nothing is replaced or
deleted there. A list of hashes is sent last, so that what is on its way does not count as finished.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from heldout import files
from heldout.errors import InUse, UserError, note

VARIABLE = "HELDOUT_REMOTE"  # the address, once HELDOUT_HOME is the folder of this machine
LIST = "complete.json"
_MARKERS = ("working/runs/*/seed*/fold*/run.json", "working/blends/*/decision.json")


def enter() -> str | None:
    """Take an address out of ``HELDOUT_HOME``; returns it, or None where that is a folder."""
    home = os.environ.get("HELDOUT_HOME", "")
    if "://" in home:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        place = cache / "heldout" / "homes" / home.replace("://", "/").strip("/")
        place.mkdir(parents=True, exist_ok=True)
        os.environ.update({"HELDOUT_HOME": str(place), VARIABLE: home.rstrip("/")})
    return os.environ.get(VARIABLE)


_PLACES = re.compile(r"working/(runs/[^/]+/seed\d+/fold\d+|blends/[^/]+)")


def pull(address: str) -> list[str]:
    """Fetch what is finished at an address and not here; returns the folders.

    Raises:
        UserError: the address cannot be read, or a file arrived damaged.
    """
    home, fetched = files.home(), []
    with _opened(address) as (remote, root):
        for found in remote.find(f"{root}/working") if remote.exists(f"{root}/working") else []:
            folder, _, name = found.rpartition("/")
            below = folder.removeprefix(root).strip("/")
            if name != LIST or not _PLACES.fullmatch(below) or ".." in below.split("/") or _is_finished(home / below):
                continue
            if (home / below / "decision.json").exists():
                note(f"{below} at {address} is sealed, and the one here is not: rename it to fetch that one")
                continue
            listed = json.loads(remote.cat_file(found))
            with contextlib.suppress(InUse), files.lock(home / below, f"fetching {below}"):
                _fetch(remote, folder, home / below, listed)
                fetched.append(below)
    return fetched


def _fetch(remote: Any, folder: str, target: Path, listed: dict[str, str]) -> None:
    last = [name for name in listed if name in ("run.json", "decision.json")]
    content = {}
    for name in [name for name in listed if name not in last] + last:
        if not files.is_below(name):
            raise UserError(f"{folder}/{LIST} lists {name}, which lies elsewhere: delete that folder at the address")
        data = remote.cat_file(f"{folder}/{name}")
        if files.sha256_bytes(data) != listed[name]:
            raise UserError(f"{folder}/{name} arrived damaged: run the command again, or delete it at the address")
        if name in last:
            content[name] = data
        else:
            files.write_bytes(target / name, data)
    for name, data in content.items():
        files.write_bytes(target / name, data)


def push(address: str) -> list[str]:
    """Send what is finished here and not at an address; returns the folders.

    Raises:
        UserError: the address cannot be written.
    """
    home, sent = files.home(), []
    with _opened(address) as (remote, root):
        there = set(remote.find(f"{root}/working")) if remote.exists(f"{root}/working") else set()
        for marker in [path for pattern in _MARKERS for path in sorted(home.glob(pattern))]:
            below = marker.parent.relative_to(home).as_posix()
            if f"{root}/{below}/{LIST}" in there or not _is_finished(marker.parent):
                continue
            paths = [path for path in sorted(marker.parent.rglob("*")) if path.is_file() and not _is_hidden(path)]
            listed = {path.relative_to(marker.parent).as_posix(): files.sha256_file(path) for path in paths}
            for name in listed:
                place = f"{root}/{below}/{name}"
                remote.makedirs(place.rpartition("/")[0], exist_ok=True)
                remote.pipe_file(place, (marker.parent / name).read_bytes())
            remote.pipe_file(f"{root}/{below}/{LIST}", json.dumps(listed).encode())
            sent.append(below)
    return sent


def _is_finished(folder: Path) -> bool:
    """Whether a folder holds a finished fit or a sealed decision."""
    if (folder / "run.json").exists():
        return True
    with contextlib.suppress(FileNotFoundError, ValueError):
        return json.loads((folder / "decision.json").read_text(encoding="utf-8")).get("seal") is not None
    return False


def _is_hidden(path: Path) -> bool:
    return path.name.startswith(".") or path.name == "state.pt"


@contextlib.contextmanager
def _opened(address: str) -> Iterator[tuple[Any, str]]:
    """The file system of an address, and the path on it."""
    import fsspec

    try:
        remote, root = fsspec.core.url_to_fs(address)
        remote.invalidate_cache()
        yield remote, root.rstrip("/")
    except ImportError as error:
        raise UserError(f"HELDOUT_HOME={address} needs a package ({error}): pip install 'heldout[s3]'") from None
    except UserError:
        raise
    except Exception as error:  # whatever the client of a store raises
        reason = str(error).strip().splitlines()
        raise UserError(
            f"HELDOUT_HOME={address} cannot be reached ({reason[0] if reason else type(error).__name__}): check the "
            "address and your credentials"
        ) from None
