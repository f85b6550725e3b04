"""What was computed from predictions once, kept in a JSON file under the hashes of those predictions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from heldout import files
from heldout.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable


class Remembered:
    """Values in ``working/cache/<name>.json``, which may be deleted at any time.

    Args:
        name: Of the file.
        schema: A file of another number is computed anew.
    """

    def __init__(self, name: str, schema: int) -> None:
        self._path = files.home() / "working" / "cache" / f"{name}.json"
        self._schema = schema
        self._changed = False
        try:
            stored = files.read_record(self._path, {"schema": int, "values": dict}, "it is made anew")
        except UserError:
            stored = {"schema": None}
        self._values: dict[str, Any] = stored["values"] if stored["schema"] == schema else {}

    def get(self, about: Any, compute: Callable[[], Any]) -> Any:
        """The value known under ``about``, else what ``compute`` returns; both are of JSON's types."""
        key = files.sha256_json(about)
        if key not in self._values:
            self._values[key], self._changed = compute(), True
        return self._values[key]

    def save(self) -> None:
        """Write the file, if anything was computed."""
        if self._changed:
            files.write_json(self._path, {"schema": self._schema, "values": self._values})
