"""Typed parts of a decision and of the ledger, as their files hold them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ConfigDict, Field

from heldout import files
from heldout.blend.values import WHOLE
from heldout.records import Number, Record

if TYPE_CHECKING:
    from heldout.blend.members import Member


class DecisionRecord(Record):
    """A part of a decision, written with the fields that it was given, so that its hash stays that of its file."""

    model_config = ConfigDict(extra="forbid")

    def to_json(self) -> dict[str, Any]:
        """Plain values under their names on disk."""
        return self.model_dump(mode="json", exclude_unset=True)


class FitRef(DecisionRecord):
    """A fit that predicts.

    Attributes:
        seed, fold: Which one it is.
        weights_sha256: SHA-256 of its weights.
        oof_sha256: SHA-256 of its out-of-fold table.
        maps_sha256: SHA-256 of the list of hashes of its out-of-fold maps.
    """

    seed: int
    fold: int
    weights_sha256: str
    oof_sha256: str
    maps_sha256: str


class FirstStageRef(DecisionRecord):
    """The networks that see a case first, and whose map is an input of a member's.

    Attributes:
        spec: Their experiment.
        tta: Axes of the flips.
        folders: Their fits.
    """

    spec: str
    tta: str
    folders: tuple[FitRef, ...]

    @property
    def first_stage(self) -> None:
        """A first stage stands on no other."""


class DecisionMember(DecisionRecord):
    """A member of a decision.

    Attributes:
        name: Name of the member, as it was asked for.
        spec: Its experiment.
        seeds: Seeds of its fits.
        tta: Axes of the flips.
        weight: In 0 ... 1; None of a classification beside segmentations, which counts for presence alone.
        folders: Its fits.
        two_heads: Its case scores are those of a second head; on disk only where true.
        first_stage: What it stands on; on disk only where there is one.
    """

    name: str
    spec: str
    seeds: tuple[int, ...]
    tta: str
    weight: Number | None
    folders: tuple[FitRef, ...]
    two_heads: bool = False
    first_stage: FirstStageRef | None = None

    def with_weight(self, weight: float) -> DecisionMember:
        """The same member with another weight."""
        return self.model_copy(update={"weight": weight})


def describe_member(member: Member, weight: int | None) -> DecisionMember:
    """An opened member as a decision keeps it, with the hashes of its fits; ``weight`` in thousandths."""
    given: dict[str, Any] = {"two_heads": True} if member.two_heads else {}
    if stage := member.first_stage:
        given["first_stage"] = FirstStageRef.model_validate(stage.describe(), strict=False)
    return DecisionMember(
        name=member.name,
        spec=member.spec,
        seeds=tuple(sorted({fit.seed for fit in member.fits})),
        tta=member.tta,
        weight=None if weight is None else weight / WHOLE,
        folders=tuple(
            FitRef(
                seed=fit.seed,
                fold=fit.fold,
                weights_sha256=fit.hashes.weights,
                oof_sha256=fit.hashes.oof,
                maps_sha256=files.sha256_json(fit.hashes.maps),
            )
            for fit in member.fits
        ),
        **given,
    )


class DecisionScore(DecisionRecord):
    """What a blend scored; empty for an experiment's plain mean.

    Attributes:
        in_sample: Tuned and scored on the same cases.
        cross_fitted: Every fold scored with what was tuned on the others; None with one finished fold.
        optimism: How much better the in-sample score is than the cross-fitted one.
        low, high: 95 % interval of the second over patients.
    """

    in_sample: Number | None = None
    cross_fitted: Number | None = None
    optimism: Number | None = None
    low: Number | None = None
    high: Number | None = None


class Evaluation(Record):
    """An evaluation of a test part, on record before its score is seen.

    Attributes:
        number: Its place in the ledger, from 1.
        time: UTC.
        name: Name of the decision.
        decision: Its seal, or identity.
        sealed: It was frozen.
        dataset, data_hash: What was predicted.
        metric: Name of the score.
        predictions_sha256: SHA-256 of the stored predictions.
        reason: Why a further evaluation was needed; None of a first one.
        decision_evals, dataset_evals: Evaluations of this decision and on this dataset, this one included.
    """

    event: Literal["look"] = "look"
    number: int = Field(alias="look")
    time: str
    name: str
    decision: str
    sealed: bool
    dataset: str
    data_hash: str
    metric: str
    predictions_sha256: str
    reason: str | None = Field(alias="look_again")
    decision_evals: int = Field(alias="looks_of_decision")
    dataset_evals: int = Field(alias="looks_of_dataset")


class EvaluationResult(Record):
    """The score of an evaluation, with its interval; None where undefined."""

    event: Literal["result"] = "result"
    number: int = Field(alias="look")
    score: Number | None
    low: Number | None
    high: Number | None
    cases: int


@dataclass(frozen=True)
class LedgerEntry:
    """An evaluation with its result; None where it ended before."""

    evaluation: Evaluation
    result: EvaluationResult | None
