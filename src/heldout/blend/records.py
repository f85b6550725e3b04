"""Typed parts of a decision, as its file holds them. Free of numpy and torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import ConfigDict, Field

from heldout.predict.precision import FLOAT32
from heldout.records import Number, Record
from heldout.train.record import FitRef

if TYPE_CHECKING:
    from heldout.blend.members import Member

WHOLE = 1000  # weights are whole thousandths
Row = tuple[int, ...]  # thousandth of every member
Weights = Sequence[int] | Sequence[Row]  # one row for all classes, or one per class: heldout.blend.values.blend_maps
OF_MAP = ("top", "maximum", "area")  # presence scores that a map gives


class DecisionRecord(Record):
    """A part of a decision, written with the fields that it was given, so that its hash stays that of its file.

    One without fields is false, and written as ``{}``.
    """

    model_config = ConfigDict(extra="forbid")

    def __bool__(self) -> bool:
        """Whether it was given any field."""
        return bool(self.model_fields_set)

    def to_json(self) -> dict[str, Any]:
        """Plain values under their names on disk."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)


class FirstStageRef(DecisionRecord):
    """The networks that see a case first, and whose map is an input of a member's.

    Attributes:
        spec: Their experiment.
        tta: Axes of the flips.
        folders: Their fits.
        predict_precision: Number format of their predictions; on disk only where not float32.
    """

    spec: str
    tta: str
    folders: tuple[FitRef, ...]
    predict_precision: str = FLOAT32

    @property
    def first_stage(self) -> None:
        """A first stage has no first stage."""


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
        first_stage: Its first stage; on disk only where there is one.
        predict_precision: Number format of its predictions; on disk only where not float32.
    """

    name: str
    spec: str
    seeds: tuple[int, ...]
    tta: str
    weight: Number | None
    folders: tuple[FitRef, ...]
    two_heads: bool = False
    first_stage: FirstStageRef | None = None
    predict_precision: str = FLOAT32

    def with_weight(self, weight: float) -> DecisionMember:
        """The same member with another weight."""
        return self.model_copy(update={"weight": weight})


def describe_member(member: Member, weight: int | None) -> DecisionMember:
    """An opened member as a decision keeps it, with the hashes of its fits; ``weight`` in thousandths."""
    given: dict[str, Any] = {"two_heads": True} if member.two_heads else {}
    if member.precision != FLOAT32:
        given["predict_precision"] = member.precision
    if stage := member.first_stage:
        half = {} if stage.precision == FLOAT32 else {"predict_precision": stage.precision}
        given["first_stage"] = FirstStageRef(spec=stage.spec, tta=stage.tta, folders=stage.refs, **half)
    return DecisionMember(
        name=member.name,
        spec=member.spec,
        seeds=tuple(sorted({fit.seed for fit in member.fits})),
        tta=member.tta,
        weight=None if weight is None else weight / WHOLE,
        folders=tuple(FitRef.of(fit.seed, fit.fold, fit.hashes) for fit in member.fits),
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


@dataclass(frozen=True)
class Spatial:
    """How a map of one class becomes a mask: components of the voxels at ``low`` or above, if they qualify.

    Attributes:
        low: Level 0 ... 255 that a voxel must reach.
        high: Level that at least one voxel of its component must reach (hysteresis, Canny 1986).
        min_size: Smallest component, in millionths of the case's voxels, so that it means the same at every resolution.
        fill: Whether holes that a component encloses are filled.
    """

    low: int
    high: int
    min_size: Annotated[int, Field(alias="least")] = 0  # the seals of earlier decisions hash that name
    fill: bool = False


class Change(DecisionRecord):
    """A score of the case scores before and after a step; None where undefined."""

    before: Number | None
    after: Number | None


Changes = dict[str, dict[str, Change] | None]  # by "in_sample" and "cross_fitted", then by metric; None with one fold


class Presence(DecisionRecord):
    """How the case scores of a segmentation are mixed; empty where they are the map's own.

    Attributes:
        metric: Score that the mix was tuned for; None where it was not tuned.
        shares: Share of every source, by :data:`OF_MAP` and the names of the members, summing to 1.
        scores: What the mix changes.
    """

    metric: str | None = None
    shares: dict[str, Number] = Field(default_factory=dict)
    scores: Changes = Field(default_factory=dict)


class Calibration(DecisionRecord):
    """Monotone maps of the case scores; empty, it changes nothing.

    Attributes:
        asked: What was asked for; of a decision alone.
        method: As for :func:`heldout.blend.calibrate.fit_calibration`.
        multiclass: The classes are exclusive, and their scores sum to one.
        maps: Parameters of every class, or of all where one temperature serves exclusive classes.
        scores: What calibration changes; of a decision alone.
    """

    asked: str = "none"
    method: str = "none"
    multiclass: bool = Field(default=False, alias="competing")
    maps: tuple[tuple[Number | tuple[Number, ...], ...], ...] = ()
    scores: Changes = Field(default_factory=dict)


class Mixing(DecisionRecord):
    """How the predictions of members are put together; empty for their weighted mean.

    ``method`` and ``power`` are as in :mod:`heldout.blend.mixing`, ``weights`` and ``intercepts`` are by class (and
    member), ``ranks`` are quantiles of every member's probabilities, by class. Of masks whose classes exclude each
    other the first of ``weights`` are those of the background.
    """

    method: str = "mean"
    power: Number = 1.0
    weights: tuple[tuple[Number, ...], ...] = ()
    intercepts: tuple[Number, ...] = ()
    ranks: tuple[tuple[tuple[Number, ...], ...], ...] = ()

    def rows(self, weights: Row) -> tuple[Row, ...]:
        """Thousandths of the members, one row for all classes or one per class; ``weights`` are those of all alike."""
        if self.method != "classes":
            return (weights,)
        return tuple(tuple(round(value * WHOLE) for value in row) for row in self.weights)


class Pooling(DecisionRecord):
    """How the scores of a group's cases become one, where groups are scored; empty where cases are.

    Attributes:
        level: What the cases of a group have in common: ``patient``, or a column of the dataset's tables.
        method, value: As in :mod:`heldout.blend.pooling`.
    """

    level: str = ""
    method: str = "mean"
    value: Number = 0.0


class Postprocess(DecisionRecord):
    """The experiment's own last step; empty where there is none.

    Attributes:
        settings: What its hook ``postprocess``, or another of its kind, is called with.
        code: SHA-256 of the code that the hook reaches.
        by: What the cases that ``postprocess_slices`` or ``postprocess_table`` sees together have in common; empty, and
            not on disk, of the others.
    """

    settings: dict[str, bool | int | Number | str] = Field(default_factory=dict)
    code: str = ""
    by: str = ""


class Abstention(DecisionRecord):
    """When a case is left to people; empty, every case is answered.

    Attributes:
        risk: Mean loss of the answered cases that was asked for.
        cut: Entropy in nats above which a case is not answered.
        coverage, selective_risk: Share of the cases that are answered and their mean loss, cross-fitted.
        full_risk: Mean loss of all cases.
    """

    risk: Number = 1.0
    cut: Number = 0.0
    coverage: Number = 1.0
    selective_risk: Number | None = None
    full_risk: Number = 0.0


class FeatureRef(DecisionRecord):
    """Features of held-out images, in ``features.npz``; empty where none are stored.

    Attributes:
        seed, fold: Of the network of the first member that gave them.
        layer: Its layer.
        images: Number of images.
        sha256: Of the file.
    """

    seed: int = 0
    fold: int = 0
    layer: str = ""
    images: int = 0
    sha256: str = ""


@dataclass(frozen=True)
class BlendSettings:
    """What was tuned.

    Attributes:
        weights: Thousandth of every member, summing to 1000.
        thresholds: Threshold 0 ... 255 of every class; empty where classes are exclusive.
        spatial: How components of every class are chosen; empty where the thresholds alone make the mask.
        presence: Thousandth of every presence score; empty where presence is not mixed.
        calibration, mixing: Of the case scores; how probabilities are put together, on disk only if not by their mean.
        pooling: How the cases of a group become one, before all that; on disk only where groups are scored.
        postprocess: What the experiment's hook is called with; None, and not on disk, where it is not.
    """

    weights: tuple[int, ...]
    thresholds: tuple[int, ...]
    spatial: tuple[Spatial, ...] = ()
    presence: tuple[int, ...] = ()
    calibration: Calibration = Calibration()  # noqa: RUF009 - frozen
    mixing: Mixing = Mixing()  # noqa: RUF009 - frozen
    pooling: Pooling = Pooling()  # noqa: RUF009 - frozen
    postprocess: dict[str, bool | int | Number | str] | None = None

    @property
    def rows(self) -> tuple[Row, ...]:
        """Thousandths of the members, one row for all classes or one per class."""
        return self.mixing.rows(self.weights)


class Alternative(DecisionRecord):
    """What a single member or other weights score, with tuned thresholds; None where undefined."""

    in_sample: Number | None
    cross_fitted: Number | None
    weights: tuple[int, ...]


class PruneStep(DecisionRecord):
    """What was dropped, the loss of score, and the seconds per case that it saves."""

    dropped: str
    loss: Number
    seconds: Number


class Pruning(DecisionRecord):
    """How a decision was made from a larger one.

    Attributes:
        source, identity: Of the larger decision.
        hours, cases: The time limit.
        seconds_per_case: Before and after.
        score_before: Cross-fitted score of the larger one, without its later steps.
        steps: What was dropped, in order.
        by_fold: Members that a fold is scored with: what is left where the other folds choose. The weights of the
            folds are theirs.
    """

    source: str = Field(alias="from")
    identity: str
    hours: Number
    cases: int
    seconds_per_case: tuple[Number, Number]
    score_before: Number
    steps: tuple[PruneStep, ...]
    by_fold: dict[str, tuple[DecisionMember, ...]] = Field(default_factory=dict)


class Dropped(DecisionRecord):
    """A member that was searched and dropped when freezing, for it changes no prediction; ``place`` counts from 0."""

    place: int
    member: DecisionMember


class SearchRecord(DecisionRecord):
    """How a blend was tuned; empty for an experiment's plain mean.

    Attributes:
        sampler, trials, seed, processes: See :class:`heldout.blend.study.SearchPlan`.
        by_fold: Settings that each fold was scored with, tuned on the others.
        baselines: What single members and other weights score, by name.
        pruned: What it was made from, where it was pruned.
        dropped: Members without weight, which freezing dropped; the folds may have been scored with them.
        metric_code: SHA-256 of the code of a metric of the user's own; on disk only then, and limits only where set.
    """

    sampler: str = ""
    trials: int = 0
    seed: int = 0
    processes: int = 1
    by_fold: dict[str, BlendSettings] = Field(default_factory=dict)
    baselines: dict[str, Alternative] = Field(default_factory=dict)
    pruned: Pruning | None = Field(default=None, alias="shrunk")
    dropped: tuple[Dropped, ...] = ()
    metric_code: str | None = None
    max_members: int | None = None
    max_seconds: Number | None = None
    seconds: tuple[Number, ...] = ()


class ReferenceCase(DecisionRecord):
    """A held-out case whose prediction by one fit is stored."""

    member: str
    seed: int
    fold: int
    case_id: str


class Reference(DecisionRecord):
    """Reference predictions, which must be reproduced before a decision is used.

    Attributes:
        cases: The predictions, in the order of the arrays in ``kept.npz``.
        sha256: Of that file.
        blended: Scores of every case's blend.
        lines: What a submission would hold of every case, and the hash of its mask; empty in decisions sealed before.
    """

    cases: tuple[ReferenceCase, ...]
    sha256: str
    blended: dict[str, tuple[Number, ...]]
    lines: dict[str, tuple[str, ...]] = Field(default_factory=dict)
