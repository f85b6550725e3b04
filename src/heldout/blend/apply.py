"""A decision applied to new images: one at a time, so that memory stays flat and no case depends on another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from heldout.blend.calibrate import apply_calibration
from heldout.blend.decision import Decision
from heldout.blend.detection_hook import detections_of
from heldout.blend.doubt import case_doubt, reason_of
from heldout.blend.mixing import mix
from heldout.blend.presence import fuse, levels_of_map, map_scores
from heldout.blend.records import DecisionMember, FirstStageRef
from heldout.blend.session import Session
from heldout.blend.spatial import spatial_mask
from heldout.blend.values import blend_maps, labels_of, map_of
from heldout.data.first_stage import FirstStageMap
from heldout.data.image import BadFile, Image
from heldout.data.parallel import ahead
from heldout.data.rle import RunLengths
from heldout.data.transform import prepare_image
from heldout.errors import UserError
from heldout.metrics.ignored import hide
from heldout.metrics.uncertainty import Uncertainty, decompose
from heldout.predict.prediction import Prediction, mean_predictions, presence
from heldout.predict.run import predict_cases
from heldout.tasks.base import load_task
from heldout.train.imported import ImportedTest, check_imported
from heldout.train.runs import fit_folder

if TYPE_CHECKING:
    from torch import nn

    from heldout.data.dataset import Dataset
    from heldout.data.sources import Source
    from heldout.tasks import Task


@dataclass(frozen=True, eq=False)
class Blended:
    """What a decision says about a case.

    Attributes:
        case_id: The case.
        scores: (K,) float32: probability of each class; of a segmentation, its presence score; calibrated, where the
            decision says so.
        map: (K, *spatial) uint8 blended probabilities on the image's own grid; None for classification.
        mask: (M, *spatial) uint8; None for classification.
        detections: (m, 3 + 2 D) of a detection, see :func:`heldout.predict.peaks.find_detections`; else None.
        grade: Number of the class that tuned cut points of ordered classes decide for; None where there are none.
        labels: (K,) bool: the classes that a classification predicts by its thresholds, cut points, or the most
            probable one; None of other kinds.
        uncertainty: Where it was asked for, of the case or of every voxel; before calibration and thresholds.
        classified: (L, K) what classifications say, where they are mixed into the presence score of a segmentation.
        uncalibrated: (K,) the scores before calibration; None where a case was not predicted.
        abstain: Why the case is left to people; empty where it is answered.
        features: (F,) float32 of a network, where they were picked up.
        members: What the members say, where the decision pools cases; else empty.
        runs: Run lengths of the mask by class, of an image whose mask is never in memory; else None.
    """

    case_id: str
    scores: np.ndarray
    map: np.ndarray | None
    mask: np.ndarray | None
    uncertainty: Uncertainty | None = None
    detections: np.ndarray | None = None
    grade: int | None = None
    labels: np.ndarray | None = None
    classified: np.ndarray = field(default_factory=lambda: np.empty(0))
    uncalibrated: np.ndarray | None = None
    abstain: str = ""
    features: np.ndarray | None = None
    members: Sequence[Prediction] = ()
    runs: Mapping[str, str] | None = None


class Predicts(Protocol):
    """A member of a decision."""

    def predict(self, case_id: str, image: Image, exclusive: bool) -> list[Prediction]:
        """What it says of a case."""


@dataclass(frozen=True, eq=False)
class ImportedMember:
    """A member whose predictions were made elsewhere."""

    test: ImportedTest

    def predict(self, case_id: str, image: Image, exclusive: bool) -> list[Prediction]:  # noqa: ARG002 - as networks do
        """The prediction that was imported."""
        return [self.test.predict(case_id)]


@dataclass(frozen=True, eq=False)
class MemberNetworks:
    """The networks of a member of a decision, or of its first stage.

    Attributes:
        config: The experiment.
        models: Its networks, one per fit.
        tta: Axes of the flips.
        first: The first stage; None where there is none.
    """

    config: Task
    models: Sequence[nn.Module]
    tta: str
    first: Predicts | None

    @classmethod
    def load(cls, member: DecisionMember | FirstStageRef, decision: Decision, session: Session) -> Predicts:
        """Load what a decision describes.

        Raises:
            UserError: weights are missing or do not fit.
        """
        import torch

        config = load_task(member.spec)
        if config.imported is not None:
            return ImportedMember(check_imported(config))
        config = config.model_copy(update={"predict_precision": member.predict_precision})
        device = "cuda" if torch.cuda.is_available() else "cpu"
        paths = [fit_folder(member.spec, fit.seed, fit.fold) / "weights.safetensors" for fit in member.folders]
        models = [session.network(config, path, decision, device) for path in paths]
        first = cls.load(member.first_stage, decision, session) if member.first_stage else None
        return cls(config, models, member.tta, first)

    def predict(self, case_id: str, image: Image, exclusive: bool) -> list[Prediction]:
        """Predictions of every network; the first stage's map is the mean of networks that never saw the case."""
        first_map = None
        if self.first is not None:
            found = mean_predictions(self.first.predict(case_id, image, exclusive))
            first_map = FirstStageMap(map_of(found), self.config.first_stage_use, self.config.first_stage_fraction)
        return predict_case(
            self.config, self.models, case_id, image, exclusive=exclusive, tta=self.tta, first_map=first_map
        )


@dataclass(frozen=True, eq=False)
class OpenDecision:
    """A decision opened to predict. Whoever opens it has verified it: see :func:`heldout.blend.verify.open_decision`.

    Attributes:
        decision: The decision.
        session: What the command has opened.
    """

    decision: Decision
    session: Session = field(default_factory=Session)

    @cached_property
    def config(self) -> Task:
        """The first member's experiment, which says how cases are read and submitted."""
        return load_task(self.decision.members[0].spec)

    @property
    def dataset(self) -> Dataset:
        """The checked dataset."""
        return self.session.dataset(self.config)

    @cached_property
    def members(self) -> list[Predicts]:
        """The networks of all members; those that differ in their flips alone share theirs.

        Raises:
            UserError: weights are missing or do not fit.
        """
        return [MemberNetworks.load(member, self.decision, self.session) for member in self.decision.members]

    def predict(self, cases: Iterable[tuple[str, Image]], *, uncertainty: bool = False) -> Iterator[Blended]:
        """Predict images: each member is the mean of all its fits, the members are blended, the blend is cut.

        Args:
            cases: Case id and image as read; consumed one by one, the next one while the last one is predicted.
            uncertainty: Say too how far the networks agree.

        Yields:
            One result per image, in the same order.

        Raises:
            UserError: weights are missing or do not fit, or an image does not fit the preparation.
        """
        for case_id, image in ahead(cases):
            found = [member.predict(case_id, image, self.decision.exclusive) for member in self.members]
            blended = blend_members(self.decision, found)
            yield replace(blended, uncertainty=disagreement(self.decision, found)) if uncertainty else blended


def disagreement(decision: Decision, answers: Sequence[Sequence[Prediction]]) -> Uncertainty:
    """Uncertainty of the networks of a decision as one ensemble, each with its share of its member's weight.

    Args:
        decision: The decision.
        answers: What every network of every member says of one case.

    Returns:
        Scalars of a classification, maps (*spatial) of a segmentation, in nats.
    """
    weighted = [(weight / len(found), one) for weight, found in decision.weighted(answers) for one in found]
    total = sum(share for share, _ in weighted)
    segmentation = decision.kind == "segmentation"
    values = [map_of(one) if segmentation else one.scores for _, one in weighted]
    shares = [share / total for share, _ in weighted]
    return decompose(values, exclusive=decision.exclusive, background=segmentation, weights=shares)


def blend_members(decision: Decision, answers: Sequence[Sequence[Prediction]]) -> Blended:
    """Put one case's predictions together: of every member, those of all its networks."""
    members = [mean_predictions(predictions) for predictions in answers]
    result = blend_case(decision, members)
    return replace(result, members=members) if decision.pooling else result


def blend_case(decision: Decision, members: Sequence[Prediction]) -> Blended:
    """Put one case's member predictions, in the order of the decision's members, together as it says."""
    found = _segmented(decision, members) if decision.kind == "segmentation" else _classified(decision, members)
    return decide(decision, _hooked(decision, found))


def _hooked(decision: Decision, found: Blended) -> Blended:
    """A result after the hook on single cases; detections are found with theirs."""
    if not decision.postprocess or decision.postprocess.by or decision.finder is not None:
        return found
    return run_hook(load_task(decision.members[0].spec), found, decision.postprocess.settings)


def decide(decision: Decision, found: Blended) -> Blended:
    """A result with what follows from its scores and mask: grade, labels, and whether it is left to people."""
    cuts = decision.levels if decision.exclusive and found.map is None else ()
    grade = int(labels_of(found.scores[None], cuts, True).argmax()) if len(cuts) > 1 else None
    if decision.kind == "classification":
        found = replace(found, labels=labels_of(found.scores[None], decision.levels, decision.exclusive)[0])
    return replace(found, grade=grade, abstain=_abstain(decision, found.scores, found.map, found.mask))


def run_hook(config: Task, result: Blended, settings: Mapping[str, Any]) -> Blended:
    """A result after the experiment's hook ``postprocess``.

    Raises:
        UserError: the hook fails, or returns something else than a result of the same shapes.
    """
    hook = f"postprocess of {config.experiment}"
    try:
        changed = config.postprocess(as_given(result), **settings)
    except Exception as error:
        raise UserError(
            f"{hook} fails for case {result.case_id} ({type(error).__name__}: {error}): correct it"
        ) from error
    return as_changed(hook, result, changed)


def as_given(result: Blended) -> Blended:
    """A result as a hook sees it: what it was tuned on, and nothing else; it may change the mask in place."""
    return Blended(result.case_id, result.scores, result.map, None if result.mask is None else result.mask.copy())


def as_changed(hook: str, result: Blended, changed: Any) -> Blended:
    """A result with the scores and the mask that a hook returned for it.

    Raises:
        UserError: the hook returned something else than a result of the same shapes.
    """
    if not isinstance(changed, Blended):
        raise UserError(f"{hook} returns a {type(changed).__name__}: return dataclasses.replace(result, ...)")
    for name in ("scores", "mask"):
        before, after = getattr(result, name), getattr(changed, name)
        if np.shape(before) != np.shape(after) or (before is not None and not np.isfinite(after).all()):
            raise UserError(
                f"{hook} gives case {result.case_id} other {name} than an array {np.shape(before)}: correct it"
            )
    mask = None if changed.mask is None else np.asarray(changed.mask, np.uint8)
    return replace(result, scores=np.asarray(changed.scores, np.float32), mask=mask)


def _classified(decision: Decision, members: Sequence[Prediction]) -> Blended:
    found = np.stack([member.scores for member in members[: len(decision.weights)]])[:, None]
    scores = mix(found, decision.weights, decision.mixing, decision.exclusive)[0]
    return Blended(members[0].case_id, _calibrated(decision, scores), None, None, uncalibrated=scores)


def _segmented(decision: Decision, members: Sequence[Prediction]) -> Blended:
    blended = blend_maps([map_of(member) for member in members[: len(decision.weights)]], decision.rows)
    sources = decision.presence_sources.values() if decision.presence else ()
    classified = np.array([members[number].scores for number in sources], float)
    scores, case_id = _presence(decision, blended, classified), members[0].case_id
    return Blended(
        case_id,
        _calibrated(decision, scores),
        blended,
        mask_of(decision, blended),
        detections=detections_of(decision, case_id, blended, decision.levels) if decision.finder else None,
        classified=classified,
        uncalibrated=scores,
    )


def _abstain(
    decision: Decision, scores: np.ndarray, blended: np.ndarray | None = None, mask: np.ndarray | None = None
) -> str:
    if not decision.abstention:
        return ""
    return reason_of(decision.abstention, case_doubt(decision.exclusive, scores, blended, mask))


def as_scored(decision: Decision, result: Blended, truth: np.ndarray) -> Prediction:
    """What a decision says of a case of a segmentation as it is scored: as it was when the decision was tuned.

    Args:
        decision: The decision.
        result: The case: its map, what classifications say of it, and its mask after a hook that saw other cases too.
        truth: True mask (M, *spatial); scores and detections are those of the voxels that it does not ignore.
    """
    case_id, blended, detections = result.case_id, result.map, None
    assert blended is not None, "results of a segmentation have maps"
    known = hide(blended, truth)
    scores = _calibrated(decision, _presence(decision, known, result.classified))
    mask = result.mask if decision.postprocess.by else mask_of(decision, blended)
    found = _hooked(decision, Blended(case_id, scores, blended, mask))
    if decision.finder:
        detections = detections_of(decision, case_id, known, decision.levels, kept=False)
    return Prediction(case_id, found.scores, blended, found.mask, detections)


def _presence(decision: Decision, blended: np.ndarray, classified: np.ndarray) -> np.ndarray:
    scores = presence(blended)
    if decision.presence:
        scores = fuse(map_scores(levels_of_map(blended), decision.levels), classified, decision.shares)
    return scores


def _calibrated(decision: Decision, scores: np.ndarray) -> np.ndarray:
    return apply_calibration(decision.calibration, scores).astype(np.float32)


def mask_of(decision: Decision, blended: np.ndarray) -> np.ndarray:
    """Mask (M, *spatial) uint8 that a decision makes of a blended map (K, *spatial) uint8, before the hook."""
    spatial = [decision.spatial[name] for name in decision.classes] if decision.spatial else []
    return spatial_mask(blended, decision.levels or None, spatial, decision.exclusive)


def predict_case(
    config: Task,
    models: Sequence[nn.Module],
    case_id: str,
    image: Image,
    *,
    exclusive: bool,
    tta: str | None = None,
    first_map: FirstStageMap | None = None,
) -> list[Prediction]:
    """Prepare one image and predict it with every network; ``first_map`` is its first stage's map.

    Raises:
        UserError: the image does not fit the preparation; the message names the case.
    """
    try:
        array, geometry = prepare_image(image, config, first_map)
    except BadFile as error:
        raise BadFile(f"case {case_id}: {error}") from None
    return next(predict_cases(config, models, [(case_id, array, geometry)], exclusive=exclusive, tta=tta))


def run_lengths(config: Task, source: Source) -> RunLengths:
    """How the experiment's submission counts pixels: as it says, else as the training masks were counted."""
    start = source.rle.start if config.rle_start is None else config.rle_start
    return replace(source.rle, order=config.rle or source.rle.order, start=start)


def case_values(
    result: Blended, form: str, classes: tuple[str, ...], runs: RunLengths, empty: str = ""
) -> dict[str, float] | dict[str, str]:
    """Value of every class: a run-length text, or a probability rounded to six digits.

    Args:
        result: What the decision predicts.
        form: ``rle``, or another form of a submission; of ``detections`` nothing is said here.
        classes: Names of the classes.
        runs: How run lengths count pixels.
        empty: Text of an empty mask.
    """
    if form == "detections":
        return {}
    if form == "rle":
        own = runs.of_classes(mask_of_result(result), classes, empty) if result.runs is None else result.runs
        return {label: text or empty for label, text in own.items()}
    return {label: round(float(value), 6) for label, value in zip(classes, result.scores, strict=True)}


def mask_of_result(result: Blended) -> np.ndarray:
    """The mask (M, *spatial) that every result of a segmentation has."""
    assert result.mask is not None, "only a segmentation is submitted as masks"
    return result.mask
