"""The answers, as the API's documentation shows them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from heldout.serve.drift import FingerprintRecord


class MemberInfo(BaseModel):
    """A member of a decision."""

    name: str
    weight: float | None = Field(description="null where it counts for presence alone")
    networks: int
    tta: str = Field(description="axes of its flips")


class AbstentionInfo(BaseModel):
    """When a decision leaves a case to people. The risk is the share of wrong labels, or 1 - Dice."""

    risk: float = Field(description="risk of the answered cases that was asked for")
    cut: float = Field(description="entropy in nats above which a case is not answered")
    coverage: float = Field(description="share of the cases that are answered, cross-fitted")
    selective_risk: float | None = Field(description="risk of the answered cases, cross-fitted")
    full_risk: float = Field(description="risk of all cases")


class ReliabilityInfo(BaseModel):
    """How often what a decision says of a class happens: points of a reliability diagram."""

    label: str
    stated: list[float] = Field(description="mean probability of the cases of a bin")
    observed: list[float] = Field(description="share of them that show the class")
    cases: list[int]


class InputInfo(BaseModel):
    """What goes in."""

    formats: list[str]
    channels: int
    image_size: list[int] | None = Field(description="size that images are brought to")
    spacing_mm: list[float] | None = Field(description="voxel size that volumes are brought to")
    most_voxels: int


class ModelInfo(BaseModel):
    """A decision that is served."""

    name: str
    served_as: tuple[str, ...] = Field((), description="names that it is asked for by, such as frac1@production")
    sealed: bool
    seal: str = Field(description="SHA-256 over everything the decision depends on")
    sealed_at: str | None
    warnings: list[str] = Field(default=[], description="how it is served otherwise than it was sealed")
    kind: Literal["classification", "segmentation", "regression"]
    dimensions: int
    two_heads: bool = Field(description="masks, and a head that classifies")
    objects: Literal["boxes", "points"] | None = Field(
        None, description="what it detects; its masks are their heat maps"
    )
    classes: list[str]
    exclusive: bool = Field(description="the classes exclude each other")
    dataset: str
    metric: str
    score: float | None = Field(description="cross-fitted, out of fold")
    interval: tuple[float, float] | None = Field(description="95 % interval of the score over patients")
    thresholds: dict[str, float]
    calibration: str
    members: list[MemberInfo]
    input: InputInfo
    reliability: list[ReliabilityInfo] = Field(
        default=[], description="of the calibrated probabilities of the training cases, cross-fitted where they can be"
    )
    fingerprint: FingerprintRecord = Field(description="what the training images are like")
    network_features: bool = Field(
        description="whether features of a network are compared too; decisions sealed before they were stored have none"
    )
    abstention: AbstentionInfo | None = Field(description="null where every case is answered")
    card: dict[str, Any] | None = Field(description="model card; null until `card NAME` has written it")

    @property
    def segments(self) -> bool:
        """Whether it makes masks."""
        return self.kind == "segmentation"

    @property
    def classifies(self) -> bool:
        """Whether a network of it classifies whole cases."""
        return self.kind == "classification" or self.two_heads

    @property
    def has_threshold(self) -> bool:
        """Whether its masks are cut at thresholds."""
        return self.segments and (not self.exclusive or len(self.classes) == 1)


class Limits(BaseModel):
    """How much may be sent."""

    upload_mb: float
    classify_batch: int
    segment_batch: int


class Information(ModelInfo):
    """A decision, and what else is served."""

    version: str
    models: list[str] = Field(description="names of all decisions that are served")
    leaderboard: bool = Field(description="whether /leaderboard has one")
    limits: Limits
    research_use_only: bool = True


class Answer(BaseModel):
    """What every answer says of its origin."""

    decision: str = Field(description="name of the decision")
    seal: str = Field(description="SHA-256 over everything the decision depends on")
    sealed: bool = Field(description="false where an experiment or blend is served that is not sealed")
    version: str = Field(description="version of this program")
    request_id: str = Field(description="id of the request in the log")
    took_ms: float = Field(description="time to answer, in ms")
    warnings: list[str] = Field(default=[], description="what a reader of the answer must know")
    in_distribution: bool | None = Field(None, description="whether the input is like the training data; null: unknown")
    abstain: bool | None = Field(None, description="whether the case is left to people; null: the decision has no cut")
    abstain_reason: str | None = Field(None, description="why, where it is")
    research_use_only: bool = True


class Classification(Answer):
    """One classified image or volume."""

    prediction: str = Field(description="class, or `none`")
    confidence: float = Field(description="probability of the prediction, before calibration")
    calibrated_confidence: float = Field(description="probability of the prediction, as sealed")
    probabilities: dict[str, float] = Field(description="probability of every class, as sealed")
    grade: int | None = Field(
        None, description="number of the grade, from 0, where the classes are grades with cut points"
    )
    preview: str | None = Field(
        None, description="PNG of an image, or NIfTI of a DICOM series, for the screen, base64, where it was asked for"
    )


class Numbers(Answer):
    """What a regression says of one image or volume."""

    values: dict[str, float] = Field(description="the numbers, as sealed")
    uncalibrated_values: dict[str, float] = Field(description="the numbers before their linear calibration")
    preview: str | None = Field(None, description="as of a classification")


class GradCam(Classification):
    """One classified image and what speaks for a class in it."""

    explained: str = Field(description="class that the heat map explains")
    heatmap: str = Field(description="PNG or NIfTI on the input's grid, base64: 0 to 255")


class Segmentation(Classification):
    """One segmented image or volume."""

    shape: list[int] = Field(description="voxels along the axes of the input")
    spacing_mm: list[float] | None = Field(None, description="size of a voxel; null for images")
    threshold: float | None = Field(None, description="of the masks instead of the sealed ones; null: as sealed")
    areas: dict[str, int] = Field(description="voxels of every class")
    volumes_ml: dict[str, float] | None = Field(None, description="volume of every class; null without a voxel size")
    detections: list[dict[str, str | float]] | None = Field(
        None, description="of a detection: class, score, coordinates in voxels and sizes of boxes, the surest first"
    )
    files: dict[str, str] = Field(default={}, description="mask and probability maps by name, base64")


class Uncertain(Segmentation):
    """One segmented image or volume, and how far the answers agree."""

    mean_dice: float | None = Field(None, description="mean Dice of the answers' masks with the mask")
    entropy: float = Field(description="mean entropy of the mean answer, in nats")
    epistemic_uncertainty: float = Field(description="mean mutual information of answer and network, in nats")
    aleatoric_uncertainty: float = Field(description="mean entropy of the answers, in nats")
    answers: int = Field(description="number of answers that were compared")


class Stack(Answer):
    """One patient."""

    prediction: str
    confidence: float
    calibrated_confidence: float
    probabilities: dict[str, float] = Field(description="highest probability of every class over the slices")
    slices: int
    areas: dict[str, list[int]] | None = Field(None, description="voxels of every class in each slice, feet first")
    slice_probabilities: dict[str, list[float]] | None = None
    volumes_ml: dict[str, float] | None = None
    files: dict[str, str] = Field(
        default={},
        description="where a preview is asked: masks of a volume as of a segmentation; of slices mask0001.png and on, "
        "and preview0001.png where no browser shows the file",
    )
    preview: str | None = Field(None, description="as of a classification")


class Drift(BaseModel):
    """The last inputs of a decision beside its training images."""

    decision: str
    inputs: int
    unusual: int = Field(description="inputs unlike the training images")
    measures: dict[str, tuple[float | None, float, float, float]] = Field(
        description="median of the inputs; smallest, median and largest value of the training images"
    )


class Batch(BaseModel):
    """Answers in the order of the files; a file that failed has `error` and `status` beside its origin."""

    decision: str
    seal: str
    sealed: bool
    version: str
    request_id: str
    took_ms: float
    warnings: list[str] = []
    in_distribution: bool | None = Field(None, description="whether all answered inputs are like the training data")
    count: int
    failed: int
    results: list[dict[str, Any]]
    research_use_only: bool = True


class JobState(BaseModel):
    """How far a job is."""

    id: str
    status: Literal["running", "done", "failed", "stopped"]
    progress: float = Field(description="share of the networks' passes that are done; 0 while it waits")
    seconds: float
    detail: str | None = Field(None, description="why it failed")
    decision: str
    seal: str
    sealed: bool
    version: str
    request_id: str
    links: dict[str, str] | None = Field(None, description="where its events and its result are")


class Problem(BaseModel):
    """Why there is no answer."""

    detail: str


PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": text}
    for status, text in {
        401: "a token is needed",
        409: "another endpoint or decision fits",
        413: "too large",
        415: "not an image",
        422: "the input does not fit",
        503: "busy, or not ready",
        507: "the disk for uploads is full",
    }.items()
}
