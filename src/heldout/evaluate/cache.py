"""What was computed from predictions, kept under the hashes of what it was computed from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import Field

from heldout import files
from heldout.errors import UserError
from heldout.records import Record, read_record


class CachedValue(Record):
    """A value, and the hash of it and its key."""

    value: Any
    sha256: str


class CacheRecord(Record):
    """``working/cache/<name>.json``: values by the hash of what they were computed from."""

    schema_version: int = Field(alias="schema")
    values: dict[str, CachedValue]


class JsonCache:
    """What was computed from predictions, in ``working/cache/<name>.json``, which may be deleted at any time.

    Every value lies beside its hash: one that was edited is computed anew.

    Args:
        name: Of the file.
        schema: A file of another number is computed anew.
    """

    def __init__(self, name: str, schema: int) -> None:
        self._path = files.home() / "working" / "cache" / f"{name}.json"
        self._schema = schema
        self._changed = False
        try:
            stored = read_record(self._path, CacheRecord, schema, "it is written again").values
        except UserError:
            stored = {}
        self._values = stored

    def get(self, about: Any, compute: Callable[[], Any]) -> Any:
        """The value stored under ``about``, else what ``compute`` returns; both are of JSON's types."""
        key = files.sha256_json(about)
        stored = self._values.get(key)
        if stored is None or stored.sha256 != files.sha256_json([key, stored.value]):
            value = compute()
            stored = CachedValue(value=value, sha256=files.sha256_json([key, value]))
            self._values[key], self._changed = stored, True
        return stored.value

    def save(self) -> None:
        """Write the file, if anything was computed."""
        if self._changed:
            record = CacheRecord(schema_version=self._schema, values=self._values)
            files.write_json(self._path, record.to_json())
