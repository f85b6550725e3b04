"""What the files of a finished fit say: ``run.json`` and ``config.json``. Free of torch."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from pydantic import ConfigDict, Field, field_validator

from heldout import files
from heldout.predict.precision import FLOAT32
from heldout.records import Number, Record, read_record

SCHEMA = 1


class Hashes(Record):
    """SHA-256 of what a fit left.

    Attributes:
        weights: Of ``weights.safetensors``.
        oof: Of ``oof.parquet``.
        maps: Of the out-of-fold map of every case; empty for a classification.
    """

    weights: str
    oof: str
    maps: dict[str, str] = Field(default_factory=dict)


class FitRef(Record):
    """A fit by the hashes of what it left.

    Attributes:
        seed, fold: Which one it is.
        weights_sha256: SHA-256 of its weights.
        oof_sha256: SHA-256 of its out-of-fold table.
        maps_sha256: SHA-256 of the list of hashes of its out-of-fold maps.
    """

    model_config = ConfigDict(extra="forbid")

    seed: int
    fold: int
    weights_sha256: str
    oof_sha256: str
    maps_sha256: str

    @classmethod
    def of(cls, seed: int, fold: int, hashes: Hashes) -> FitRef:
        """A fit with these hashes."""
        return cls(
            seed=seed,
            fold=fold,
            weights_sha256=hashes.weights,
            oof_sha256=hashes.oof,
            maps_sha256=files.sha256_json(hashes.maps),
        )


class WarmStartRecord(Record):
    """Weights that a fit began with: whose, their SHA-256, and how many of the network's tensors they filled."""

    spec: str
    sha256: str
    loaded: int
    tensors: int


class PseudoLabelsRecord(Record):
    """Pseudo-labels that a fit learned from besides: their name, SHA-256 and number of cases."""

    name: str
    sha256: str
    cases: int


class MinedRecord(Record):
    """One choice of hard negatives: after which epoch, its file with SHA-256, cases scored and cases chosen."""

    epoch: int
    file: str
    sha256: str
    scored: int
    hard: int


class RunRecord(Record):
    """The record of a finished fit, ``run.json``; it is written last.

    Attributes:
        spec: The experiment, with budget and overrides.
        budget: Name of the budget; None in full.
        seed: Its seed.
        fold: The fold held out.
        metric: Name of the score.
        score: Of the cases held out; None where undefined.
        checkpoint: ``last``, or ``best`` by the fold's own score.
        epochs: Epochs trained.
        best_epoch: The epoch whose weights were kept; None for the last.
        parameters: Of the network.
        precision: As Lightning Fabric names it.
        predict_precision: Of the predictions, the same names; ``32-true`` of older runs.
        train_seconds: Wall time.
        machine: GPU, or CPU with its cores.
        torch: Version.
        fold_hash: SHA-256 of the fold table.
        data_hash: SHA-256 of the cases.
        sha256: Hashes of the files.
        warm_start: Weights it began with.
        pseudo_labels: Pseudo-labels it learned from.
        hard_negatives: Choices of hard negatives; None where they are not mined.
    """

    schema_version: int = Field(default=SCHEMA, alias="schema")
    spec: str
    budget: str | None
    seed: int
    fold: int
    metric: str
    score: Number | None
    checkpoint: str
    epochs: int
    best_epoch: int | None
    parameters: int
    precision: str
    predict_precision: str = FLOAT32
    train_seconds: Number
    machine: str
    torch: str
    fold_hash: str
    data_hash: str
    sha256: Hashes
    warm_start: WarmStartRecord | None = None
    pseudo_labels: PseudoLabelsRecord | None = None
    hard_negatives: tuple[MinedRecord, ...] | None = None
    optional: ClassVar[frozenset[str]] = frozenset(
        {"warm_start", "pseudo_labels", "hard_negatives", "predict_precision"}
    )


class Settings(Record):
    """Values of an experiment's fields when it was trained: those read here by name, and all others.

    An experiment gains fields from one version to the next, so that those an older run lacks have their default.
    """

    model_config = ConfigDict(extra="allow")

    source: str
    dataset: str = ""
    fold_count: int
    folds: tuple[int, ...] | None = None
    seeds: tuple[int, ...]
    checkpoint: str = "last"
    tta: str = ""
    overlap: float = 0.5
    predict_precision: str = "auto"
    budgets: dict[str, dict[str, Any]] = Field(default_factory=dict)
    near_duplicates: bool = False
    accept_leaks: str = ""
    encoder_weights: bool | str | None = None
    warm_start: str | None = None
    first_stage: str | None = None
    pseudo_labels: str | None = None
    imported: str | None = None


class MadeFrom(Record):
    """SHA-256 of what a fit is made from besides its dataset, by the field that names it; None for what is not used."""

    warm_start: str | None = None
    first_stage: str | None = None
    encoder_weights: str | None = None
    pseudo_labels: str | None = None
    optional: ClassVar[frozenset[str]] = frozenset({"warm_start", "first_stage", "encoder_weights", "pseudo_labels"})


class ConfigRecord(Record):
    """What a fit was trained with, ``config.json``; it is written first.

    Attributes:
        spec: The experiment, with budget and overrides.
        title: Its title.
        parent: The experiment it derives from.
        identity: What its training depends on.
        identity_hash: SHA-256 of that.
        config: Values of all its fields; see :attr:`settings`.
        classes: Names of the classes.
        exclusive: Classes exclude each other.
        fold_hash: SHA-256 of the fold table.
        data_hash: SHA-256 of the cases.
        made_from: What besides the dataset it was made from; older runs lack it.
        code: Of :func:`heldout.config.code.code_of`; None of older runs, whose helpers are not sealed.
        code_reader: Version of what read the code.
        threads: CPU threads that it is trained with; None on a GPU, where no bit depends on them, and of older runs.
        precision: Number format that it is trained in; None of older runs.
        channels_last: Memory layout that it is trained in, by measurement where it has ``measure_speed``; as above.
        compiled: Whether with torch.compile; as above.
    """

    schema_version: int = Field(default=SCHEMA, alias="schema")
    spec: str = ""
    title: str
    parent: str | None = None
    identity: dict[str, Any]
    identity_hash: str = Field(default="", alias="fingerprint")
    config: dict[str, Any]
    classes: tuple[str, ...]
    exclusive: bool
    fold_hash: str
    data_hash: str
    made_from: MadeFrom = MadeFrom()
    code: dict[str, str] | None = None
    code_reader: int = 1
    threads: int | None = None
    precision: str | None = None
    channels_last: bool | None = None
    compiled: bool | None = None
    optional: ClassVar[frozenset[str]] = frozenset(
        {"code", "code_reader", "threads", "precision", "channels_last", "compiled"}
    )

    @field_validator("config")
    @classmethod
    def _readable(cls, config: dict[str, Any]) -> dict[str, Any]:
        Settings.model_validate(config, strict=False)
        return config

    @cached_property
    def settings(self) -> Settings:
        """The values of the fields, by name."""
        return Settings.model_validate(self.config, strict=False)


class AcceptedEdit(Record):
    """An edit of code that a user declared harmless: when, why, the code after it, and the version of its reader."""

    time: str
    reason: str
    code: dict[str, str]
    code_reader: int = 1
    optional: ClassVar[frozenset[str]] = frozenset({"code_reader"})


class AcceptedRecord(Record):
    """``accepted.json`` of a run: edits of its code since it was trained, oldest first."""

    schema_version: int = Field(default=SCHEMA, alias="schema")
    edits: tuple[AcceptedEdit, ...] = ()


def read_run(folder: Path) -> RunRecord:
    """The record of a finished fit.

    Raises:
        UserError: it is missing, or not such a record.
    """
    return read_record(folder / "run.json", RunRecord, SCHEMA, _again(folder))


def read_config(folder: Path) -> ConfigRecord:
    """What a fit was trained with.

    Raises:
        UserError: it is missing, or not such a record.
    """
    return read_record(folder / "config.json", ConfigRecord, SCHEMA, _again(folder))


def write_run(folder: Path, record: RunRecord) -> None:
    """Write ``run.json``."""
    files.write_json(folder / "run.json", record.to_json())


def write_config(folder: Path, record: ConfigRecord) -> None:
    """Write ``config.json``."""
    files.write_json(folder / "config.json", record.to_json())


def read_accepted(run: Path) -> AcceptedRecord:
    """Accepted edits of a run's code; none where there is no such file.

    Raises:
        UserError: the file is damaged.
    """
    path = run / "accepted.json"
    return read_record(path, AcceptedRecord, SCHEMA, "restore it") if path.exists() else AcceptedRecord()


def write_accepted(run: Path, record: AcceptedRecord) -> None:
    """Write ``accepted.json``."""
    files.write_json(run / "accepted.json", record.to_json())


def _again(folder: Path) -> str:
    return f"delete the folder {folder} and train it again"
