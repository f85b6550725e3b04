"""Typed records of JSON files: frozen, strict, and written back as they were read."""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import Any, ClassVar, TypeVar, cast

from pydantic import (
    BaseModel,
    ConfigDict,
    SerializerFunctionWrapHandler,
    TypeAdapter,
    ValidationError,
    model_serializer,
)
from pydantic_core import from_json

from heldout import files
from heldout.errors import UserError

Number = (
    int | float
)  # keeps 1 and 1.0 apart, as JSON does, so that the hash of a record that was read is that of its file


class Record(BaseModel):
    """A JSON object with named, typed fields. Fields that a newer version adds are ignored.

    Attributes:
        optional: Fields that are left out of the file while they have their default.
    """

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        populate_by_name=True,
        arbitrary_types_allowed=False,
        ser_json_inf_nan="constants",
        defer_build=True,
    )
    optional: ClassVar[frozenset[str]] = frozenset()

    @model_serializer(mode="wrap")
    def _leave_out(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values = handler(self)
        absent = {name for name in self.optional if getattr(self, name) == type(self).model_fields[name].default}
        return {key: value for key, value in values.items() if key not in absent}

    def to_json(self) -> dict[str, Any]:
        """Plain values under their names on disk."""
        return self.model_dump(mode="json", by_alias=True)


def finite(value: float) -> float | None:
    """A number as records hold it: None where it is undefined or infinite."""
    return float(value) if math.isfinite(value) else None


Value = TypeVar("Value")


def read_record(path: Path, model: type[Value], schema: int, remedy: str) -> Value:
    """Read the record of a JSON file.

    Args:
        path: The file.
        model: Class of the record.
        schema: Version of the file that the class describes.
        remedy: What to do about a damaged file, in words; what a newer version wrote is never to be deleted.

    Raises:
        UserError: the file is missing, damaged, or of another version; one sentence that names the field.
    """
    return parse_record(read_bytes(path), str(path), model, schema, remedy)


def read_json(path: Path, remedy: str = "restore it or delete it and run again") -> Any:
    """The value in a JSON file.

    Raises:
        UserError: the file is missing, is not a regular file, or is damaged.
    """
    return parse_json(read_bytes(path), str(path), remedy)


def read_bytes(path: Path) -> bytes:
    """The bytes of a JSON file.

    Raises:
        UserError: the file is missing, is not a regular file, or cannot be read.
    """
    files.require_regular(path, "name a JSON file")
    try:
        return path.read_bytes()
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        raise UserError(f"{path} {'does not exist' if missing else f'cannot be read ({error.strerror})'}") from None


def parse_record(data: bytes, name: str, model: type[Value], schema: int, remedy: str) -> Value:
    """The record in the bytes of a JSON file; see :func:`read_record`.

    Raises:
        UserError: the bytes are not such a record.
    """
    parse_object(data, name, schema, remedy)
    return parse_value(data, name, model, remedy)


def parse_object(data: bytes, name: str, schema: int, remedy: str) -> dict[str, Any]:
    """The JSON object in the bytes of a file, as plain values.

    Raises:
        UserError: the bytes are not such an object, or one without a schema or of another version.
    """
    stored = parse_json(data, name, remedy)
    if not isinstance(stored, dict):
        raise UserError(f"{name} is not a JSON object as heldout writes it: {remedy}")
    if type(stored.get("schema")) is not int:
        raise UserError(f"{name} has a missing or wrong schema: {remedy}")
    require_schema(stored["schema"], schema, name, remedy)
    return stored


def require_schema(found: int, schema: int, name: str, remedy: str) -> None:
    """Refuse a record of another version than the one that is read.

    Raises:
        UserError: it is; what a newer version wrote is not damaged.
    """
    if found != schema:
        cure = "update heldout" if found > schema else remedy
        versions = f"schema {found}; this version reads {schema}"
        raise UserError(f"{name} was written by another version of heldout ({versions}): {cure}")


_adapter = functools.cache(TypeAdapter)  # takes milliseconds to build


def parse_value(data: bytes, name: str, kind: type[Value], remedy: str) -> Value:
    """The record, or dataclass with typed fields, in bytes that are JSON.

    Raises:
        UserError: a field is missing or has another type; names it.
    """
    try:
        adapter: TypeAdapter[Value] = _adapter(cast("Any", kind))
        return adapter.validate_json(data, strict=True)
    except ValidationError as error:
        raise UserError(f"{name} has a missing or wrong {_faults(error)}: {remedy}") from None


def parse_json(data: bytes, name: str, remedy: str) -> Any:
    """The value in the bytes of a JSON file.

    Raises:
        UserError: the bytes are not JSON, or JSON nested deeper than any record.
    """
    try:
        return from_json(data.removeprefix(b"\xef\xbb\xbf"), allow_inf_nan=False)  # a byte order mark
    except ValueError as error:
        raise UserError(f"{name} is not valid JSON ({error}): {remedy}") from None


def _faults(error: ValidationError) -> str:
    """Names of the fields that are missing or have another type, each once."""
    return ", ".join(dict.fromkeys(_place(fault["loc"]) for fault in error.errors()))


def _place(loc: tuple[int | str, ...]) -> str:
    """Path of a field; the last part of a union's is the type that was tried."""
    known = [str(part) for part in loc if part not in ("int", "float", "str", "bool")]
    return ".".join(known) or "record"
