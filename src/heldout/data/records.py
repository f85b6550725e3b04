"""Content of the JSON files of a checked dataset, of prepared arrays and of a pack, one class for each."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from heldout.data.geometry import Geometry
from heldout.errors import UserError
from heldout.records import Record, read_record

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = 1
_AGAIN = "run `folds --rebuild` to make it again"


class IndexRecord(Record):
    """``index.json`` of a checked dataset, which confirms its tables.

    Attributes:
        dataset, source, source_options: As the experiment names them.
        classes: Names of the target classes.
        exclusive: Whether only one class can hold at a time.
        fold_hash: SHA-256 of ``folds.csv``.
        data_hash: SHA-256 of what the cases are.
        index_hash: SHA-256 of what the source lists.
        files: SHA-256 of the tables by their names.
        given_folds: SHA-256 of the table that gave the folds, by the name that the experiment has for it.
        accept_leaks: Reason for which it was accepted though it has groups in several folds.
        near_rule: By which near-duplicates were searched; see :func:`heldout.data.leaks.find_duplicates`.
    """

    schema_version: int = Field(default=SCHEMA, alias="schema")
    dataset: str
    source: str
    source_options: dict[str, Any]
    classes: tuple[str, ...]
    exclusive: bool
    fold_hash: str
    data_hash: str
    index_hash: str
    files: dict[str, str]
    given_folds: dict[str, str] = Field({})
    accept_leaks: str = ""
    near_rule: int = 1
    optional: ClassVar[frozenset[str]] = frozenset({"given_folds", "accept_leaks", "near_rule"})


class LeaksRecord(Record):
    """``leaks.json``: what the checks found.

    Attributes:
        exact, near, conflicts: As of :class:`heldout.data.leaks.Duplicates`.
        class_counts: Cases of every class by part.
        caveats, found: Sentences of the source on its data and on single files.
    """

    schema_version: int = Field(default=SCHEMA, alias="schema")
    exact: list[list[str]]
    near: list[list[str]]
    conflicts: list[list[str]]
    class_counts: dict[str, dict[str, int]]
    caveats: list[str]
    found: list[str]


class OutsideRow(Record):
    """How well one kind of facts tells a class, or the part ``submit``: AUC with its 95 % interval."""

    kind: str
    told: str
    auc: float
    low: float
    high: float


class OutsideRecord(Record):
    """``outside.json``: what is told without the pixels.

    Attributes:
        of: Hash of the cases and folds that it was measured on.
        labels: For each kind of facts the class that it tells best.
        parts: For each kind how well it tells the part ``submit`` from the training part.
    """

    schema_version: int = Field(default=SCHEMA, alias="schema")
    of: str
    labels: list[OutsideRow]
    parts: list[OutsideRow]


class StoredMask(Record):
    """Whether a case's prepared mask is on the disk, which an empty one is not; and its channels."""

    stored: bool
    channels: int


class PreparedCase(Record):
    """A case whose arrays are prepared: of which pixels and part, on which grid, and its mask where it has one."""

    content_hash: str
    split: str
    geometry: Geometry
    mask: StoredMask | None


class Manifest(Record):
    """``manifest.json``: the settings of prepared arrays, by the names of :meth:`Recipe.to_dict`, and their cases."""

    schema_version: int = Field(default=SCHEMA, alias="schema")
    recipe: dict[str, Any]
    cases: dict[str, PreparedCase]


class SourceRecord(Record):
    """What an unpacked dataset has to know of the raw one's source; ``own_folds``: it came with its folds."""

    classes: tuple[str, ...]
    exclusive: bool
    dimensions: int
    kind: Literal["classification", "segmentation", "regression"]
    caveats: tuple[str, ...]
    own_folds: bool = False
    optional: ClassVar[frozenset[str]] = frozenset({"own_folds"})


class PackedArray(Record):
    """An encoded array.

    Attributes:
        codec: ``jpegxl``, ``blosc2``, or ``empty`` for zeros, of which nothing is stored.
        shape, dtype: Of the array; no type of an empty one.
    """

    codec: Literal["jpegxl", "blosc2", "empty"]
    shape: tuple[int, ...]
    dtype: str = ""
    optional: ClassVar[frozenset[str]] = frozenset({"dtype"})


class UnpackedMask(PackedArray):
    """A true mask that was unpacked: ``state`` is its file's size and time of change (ns), None where it is empty."""

    state: tuple[int, int] | None


class PackedCase(PackedArray):
    """An encoded image, the SHA-256 of its bytes and of those of its mask and foreground, and its manifest entry."""

    image: str
    mask: str | None = None
    foreground: str | None = None
    entry: PreparedCase
    optional: ClassVar[frozenset[str]] = frozenset({"mask", "foreground"})


class PackedArrays(Record):
    """Prepared arrays in a pack: their settings and cases."""

    recipe: dict[str, Any]
    cases: dict[str, PackedCase]


class PackRecord(Record):
    """``pack.json`` of a pack.

    Attributes:
        folder: Name of the checked dataset's folder.
        data_hash, fold_hash: Its hashes.
        tables: SHA-256 of its tables by their names.
        source: Of the raw dataset.
        truth: True masks of the train part.
        prepared: Prepared arrays by the digest of their settings.
    """

    schema_version: int = Field(default=SCHEMA, alias="schema")
    folder: str
    data_hash: str
    fold_hash: str
    tables: dict[str, str]
    source: SourceRecord
    truth: dict[str, PackedArray]
    prepared: dict[str, PackedArrays]


class UnpackedRecord(Record):
    """``packed.json`` of an unpacked dataset, in the place of its raw files."""

    schema_version: int = Field(default=SCHEMA, alias="schema")
    data_hash: str
    fold_hash: str
    source: SourceRecord
    truth: dict[str, UnpackedMask]


def read_index(folder: Path) -> IndexRecord:
    """``index.json`` of a checked dataset.

    Raises:
        UserError: it is missing, damaged or of another version.
    """
    return read_record(folder / "index.json", IndexRecord, SCHEMA, _AGAIN)


def read_leaks(folder: Path) -> LeaksRecord:
    """``leaks.json`` of a checked dataset.

    Raises:
        UserError: as :func:`read_index`.
    """
    return read_record(folder / "leaks.json", LeaksRecord, SCHEMA, _AGAIN)


def read_csv(path: Path, columns: dict[str, type]) -> pd.DataFrame:
    """Columns, each of a type, of a CSV table of a checked dataset.

    Raises:
        UserError: it is missing or damaged.
    """
    import pandas as pd

    try:
        return pd.read_csv(path, dtype=columns, keep_default_na=False)[list(columns)]
    except (OSError, ValueError, KeyError, OverflowError) as error:
        raise UserError(
            f"{path} cannot be read ({' '.join(str(error).split())}): undo the change, or {_AGAIN}"
        ) from None


def read_manifest(folder: Path) -> dict[str, PreparedCase]:
    """Cases whose arrays ``folder`` holds; none where it has no ``manifest.json``.

    Raises:
        UserError: the manifest is damaged.
    """
    path = folder / "manifest.json"
    remedy = f"delete {folder}, it is made again"
    return read_record(path, Manifest, SCHEMA, remedy).cases if path.exists() else {}
