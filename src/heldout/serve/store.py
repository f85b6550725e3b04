"""Where the registry lies: one JSON file per model in a folder, or below an address that fsspec opens."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import Field

from heldout import files
from heldout.errors import UserError
from heldout.records import Number, Record, parse_record, read_bytes

VARIABLE = "HELDOUT_REGISTRY"
_REMEDY = "restore it, or delete it and promote again"


class VersionRecord(Record):
    """A version of a model.

    Attributes:
        version: 1 and on.
        decision, seal, sealed_at: The sealed decision.
        metric, score: Its cross-fitted score; None where it has none.
        registered: When it became a version, UTC.
        bundle: SHA-256 of the ``bundle.json`` of its bundle in the store; None where there is none.
    """

    version: int
    decision: str
    seal: str
    sealed_at: str | None
    metric: str
    score: Number | None
    registered: str
    bundle: str | None = None


class ModelRecord(Record):
    """``<model>.json``: versions of a model.

    Attributes:
        name: Name of the model.
        versions: In the order of their numbers.
        production: Every version that was in production, the current one last.
    """

    schema_version: int = Field(default=1, alias="schema")
    name: str
    versions: tuple[VersionRecord, ...] = ()
    production: tuple[int, ...] = ()

    def version(self, number: int) -> VersionRecord:
        """A version.

        Raises:
            UserError: there is none of that number.
        """
        for one in self.versions:
            if one.version == number:
                return one
        raise UserError(f"{self.name} has no version {number}: see `python run.py registry list`")


class Store:
    """Where the records of models lie.

    Args:
        place: A folder, or an address that fsspec opens; None is ``$HELDOUT_REGISTRY``, else ``working/registry``.
    """

    def __init__(self, place: str | None = None) -> None:
        self.place = place or os.environ.get(VARIABLE) or str(files.home() / "working" / "registry")
        self._remote: Any = None
        if "://" in self.place:
            self._remote, self._root = _open_remote(self.place)

    def names(self) -> list[str]:
        """Names of all models."""
        if self._remote is None:
            return sorted(path.stem for path in Path(self.place).glob("*.json"))
        self._remote.invalidate_cache()
        return sorted(Path(path).stem for path in self._remote.glob(f"{self._root}/*.json"))

    def read(self, name: str) -> ModelRecord | None:
        """A model; None where there is none of that name.

        Raises:
            UserError: its file is damaged, or the store cannot be reached.
        """
        place = f"{self.place}/{name}.json"
        if self._remote is None:
            data = read_bytes(Path(place)) if Path(place).is_file() else None
        else:
            with _reached(self.place):
                try:
                    data = self._remote.cat_file(f"{self._root}/{name}.json")
                except FileNotFoundError:
                    data = None
        return None if data is None else parse_record(data, place, ModelRecord, 1, _REMEDY)

    def write(self, record: ModelRecord) -> None:
        """Replace a model's file.

        Raises:
            UserError: the store cannot be reached.
        """
        stored = record.model_dump(mode="json", by_alias=True)
        if self._remote is None:
            files.write_json(Path(self.place) / f"{record.name}.json", stored)
            return
        with _reached(self.place):
            self._remote.pipe_file(f"{self._root}/{record.name}.json", json.dumps(stored, indent=1).encode())

    def send(self, path: Path, name: str) -> None:
        """Copy a file into the store.

        Raises:
            UserError: the store cannot be reached or written.
        """
        with _reached(self.place):
            if self._remote is None:
                with files.atomic(Path(self.place) / name) as target, open(path, "rb") as source:
                    shutil.copyfileobj(source, target)
            else:
                self._remote.put_file(str(path), f"{self._root}/{name}")

    def fetch(self, name: str, path: Path) -> None:
        """Copy a file out of the store.

        Raises:
            UserError: it is not there, or the store cannot be reached.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        with _reached(self.place):
            try:
                if self._remote is None:
                    shutil.copyfile(Path(self.place) / name, path)
                else:
                    self._remote.get_file(f"{self._root}/{name}", str(path))
            except FileNotFoundError:
                raise UserError(f"{self.place}/{name} is missing: push the decision into the registry again") from None

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes of this machine from writing meanwhile."""
        folder = Path(self.place) if self._remote is None else files.home() / "working" / "registry"
        folder.mkdir(parents=True, exist_ok=True)
        with files.lock(folder, "changing the registry", wait=True):
            yield


def _open_remote(place: str) -> tuple[Any, str]:
    try:
        import fsspec

        remote, root = fsspec.core.url_to_fs(place)
    except (ImportError, ValueError) as error:
        raise UserError(f"the registry {place} cannot be opened ({error}): run `pip install 'heldout[s3]'`") from None
    return remote, root.rstrip("/")


@contextlib.contextmanager
def _reached(place: str) -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # of any storage's own kind
        raise UserError(f"the registry {place} cannot be reached ({type(error).__name__}: {error})") from None
