"""What a model card states: the typed record of ``model_card.yaml``."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from heldout.records import Number, Record


class ScoreFacts(Record):
    """A score with its 95 % interval; None where undefined."""

    value: Number | None
    low: Number | None
    high: Number | None


class TaskFacts(Record):
    """``classification`` or ``segmentation``, of how many dimensions, into which classes."""

    kind: str
    dimensions: int
    classes: tuple[str, ...]
    exclusive: bool


class DataFacts(Record):
    """The dataset, its license as it states it, its parts, and how many cases and patients the scores are of."""

    dataset: str
    source: str
    license_of_the_data: str
    cases: dict[str, int]
    patients: int
    folds: str
    scored_cases: int
    scored_patients: int


class TestFacts(Record):
    """Evaluations of the locked test part, and the scores of the current decision there, in words as well."""

    evaluations: int
    evaluations_on_the_dataset: int
    metrics: dict[str, ScoreFacts]
    said: str


class HashFacts(Record):
    """What identifies the decision, its data and every file of weights."""

    identity: str
    data: str
    fold_table: str
    seal: str | None = None
    weights: dict[str, str]
    optional: ClassVar[frozenset[str]] = frozenset({"seal"})


class CardFacts(Record):
    """``model_card.yaml``.

    Attributes:
        name, kind, title, metric: As on the leaderboard.
        task, data, test, hashes: See their classes.
        input, output, model, training, calibration: By topic, in words or numbers; where members differ, by member.
        metrics: Out-of-fold scores.
        by_class, by_fold: The score of each.
        at_tuned_thresholds: The score by which a segmentation ranks; None where there are no thresholds.
        limits: Sentences.
        intended_use: A sentence.
    """

    schema_version: int = Field(default=1, alias="schema")
    name: str
    kind: str
    title: str
    metric: str
    task: TaskFacts
    input: dict[str, Any]
    output: dict[str, Any]
    model: dict[str, Any]
    data: DataFacts
    training: dict[str, Any]
    metrics: dict[str, ScoreFacts]
    by_class: dict[str, float]
    by_fold: dict[str, Number | None]
    at_tuned_thresholds: ScoreFacts | None = None
    test: TestFacts
    calibration: dict[str, Any]
    limits: list[str]
    intended_use: str
    hashes: HashFacts
    optional: ClassVar[frozenset[str]] = frozenset({"at_tuned_thresholds"})
