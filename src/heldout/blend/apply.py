"""A decision at work on new images: one at a time, so that memory stays flat and no case depends on another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from heldout.blend.calibrate import apply_calibration
from heldout.blend.decision import Decision
from heldout.blend.networks import Networks
from heldout.blend.presence import fuse, levels_of_map, map_scores
from heldout.blend.records import DecisionMember, FirstStageRef
from heldout.blend.spatial import spatial_mask
from heldout.blend.values import blend_maps, blend_scores, map_of
from heldout.data.first_stage import FirstStageMap
from heldout.data.image import BadFile, Image
from heldout.data.transform import prepare_image
from heldout.metrics.uncertainty import Uncertainty, decompose
from heldout.predict.prediction import Prediction, mean_predictions, presence
from heldout.predict.run import predict_cases
from heldout.tasks.loading import load_task
from heldout.train.runs import fit_folder

if TYPE_CHECKING:
    from torch import nn

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
        uncertainty: Where it was asked for, of the case or of every voxel; before calibration and thresholds.
    """

    case_id: str
    scores: np.ndarray
    map: np.ndarray | None
    mask: np.ndarray | None
    uncertainty: Uncertainty | None = None


@dataclass(frozen=True, eq=False)
class _Stage:
    """The networks of a member, or of the first stage that a member stands on."""

    config: Task
    models: Sequence[nn.Module]
    tta: str
    first: _Stage | None

    def predict(self, case_id: str, image: Image, exclusive: bool) -> list[Prediction]:
        """What every network says; the first stage's map is the mean of networks that never saw the case."""
        first_map = None
        if self.first is not None:
            found = mean_predictions(self.first.predict(case_id, image, exclusive))
            first_map = FirstStageMap(map_of(found), self.config.first_stage_use, self.config.first_stage_fraction)
        return predict_case(
            self.config, self.models, case_id, image, exclusive=exclusive, tta=self.tta, first_map=first_map
        )


def apply_decision(
    decision: Decision,
    cases: Iterable[tuple[str, Image]],
    *,
    uncertainty: bool = False,
    networks: Networks | None = None,
) -> Iterator[Blended]:
    """Predict images: each member is the mean of all its fits, the members are blended, the blend is cut.

    The caller verifies the decision first.

    Args:
        decision: The decision.
        cases: Case id and image as read; consumed one by one.
        uncertainty: Say too how far the networks agree.
        networks: Those that were loaded when the decision was verified.

    Yields:
        One result per image, in the same order.

    Raises:
        UserError: weights are missing or do not fit, or an image does not fit the preparation.
    """
    networks = networks or Networks()  # members that differ in their flips alone share theirs
    members = [_load_stage(decision, member, networks) for member in decision.members]
    for case_id, image in cases:
        answers = [member.predict(case_id, image, decision.exclusive) for member in members]
        blended = blend_case(decision, [mean_predictions(networks_of_one) for networks_of_one in answers])
        yield replace(blended, uncertainty=disagreement(decision, answers)) if uncertainty else blended


def disagreement(decision: Decision, answers: Sequence[Sequence[Prediction]]) -> Uncertainty:
    """Uncertainty of the networks of a decision as one ensemble, each with its share of its member's weight.

    Args:
        decision: The decision.
        answers: What every network of every member says of one case.

    Returns:
        Scalars of a classification, maps (*spatial) of a segmentation, in nats.
    """
    weighted = [
        (weight / len(found), one) for weight, found in zip(decision.weights, answers, strict=False) for one in found
    ]
    total = sum(share for share, _ in weighted)
    segmentation = decision.kind == "segmentation"
    values = [map_of(one) if segmentation else one.scores for _, one in weighted]
    shares = [share / total for share, _ in weighted]
    return decompose(values, exclusive=decision.exclusive, background=segmentation, weights=shares)


def blend_case(decision: Decision, members: Sequence[Prediction]) -> Blended:
    """Put one case's member predictions, in the order of the decision's members, together as it says."""
    case_id, weights = members[0].case_id, decision.weights
    weighted = members[: len(weights)]
    if decision.kind == "classification":
        scores, blended, mask = blend_scores([member.scores for member in weighted], weights), None, None
    else:
        blended = blend_maps([map_of(member) for member in weighted], weights)
        mask = mask_of(decision, blended)
        scores = presence(blended)
        if decision.presence:
            of_map = map_scores(levels_of_map(blended), decision.levels)
            classified = [members[number].scores for number in decision.presence_sources.values()]
            scores = fuse(of_map, np.array(classified, float), decision.shares)
    scores = apply_calibration(decision.calibration, scores).astype(np.float32)
    return Blended(case_id, scores, blended, mask)


def mask_of(decision: Decision, blended: np.ndarray) -> np.ndarray:
    """Mask (M, *spatial) uint8 that a decision makes of a blended map (K, *spatial) uint8."""
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


def _load_stage(decision: Decision, described: DecisionMember | FirstStageRef, networks: Networks) -> _Stage:
    first = described.first_stage
    models = _load_models(decision, described, networks)
    first_stage = _load_stage(decision, first, networks) if first else None
    return _Stage(load_task(described.spec), models, described.tta, first_stage)


def _load_models(decision: Decision, member: DecisionMember | FirstStageRef, networks: Networks) -> list[nn.Module]:
    import torch

    config, device = load_task(member.spec), "cuda" if torch.cuda.is_available() else "cpu"
    paths = [fit_folder(member.spec, fit.seed, fit.fold) / "weights.safetensors" for fit in member.folders]
    return [networks.load(config, path, decision, device) for path in paths]
