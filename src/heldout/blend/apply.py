"""A decision at work on new images: one at a time, so that memory stays flat and no case depends on another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from heldout.blend.calibrate import apply_calibration
from heldout.blend.decision import Decision
from heldout.blend.presence import fuse, levels_of_map, map_scores
from heldout.blend.spatial import Spatial, spatial_mask
from heldout.blend.values import blend_maps, blend_scores
from heldout.config import load
from heldout.data.image import BadFile, Image
from heldout.data.transform import prepare_image
from heldout.predict.models import load_model
from heldout.predict.prediction import Prediction, mean_predictions, presence
from heldout.predict.run import predict_cases
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
    """

    case_id: str
    scores: np.ndarray
    map: np.ndarray | None
    mask: np.ndarray | None


def apply_decision(decision: Decision, cases: Iterable[tuple[str, Image]]) -> Iterator[Blended]:
    """Predict images: each member is the mean of all its fits, the members are blended, the blend is cut.

    The caller verifies the decision first.

    Args:
        decision: The decision.
        cases: Case id and image as read; consumed one by one.

    Yields:
        One result per image, in the same order.

    Raises:
        UserError: weights are missing or do not fit, or an image does not fit the preparation.
    """
    members = [(load(member["spec"]), _load_models(decision, member), member["tta"]) for member in decision.members]
    for case_id, image in cases:
        means = [
            mean_predictions(predict_case(config, models, case_id, image, exclusive=decision.exclusive, tta=tta))
            for config, models, tta in members
        ]
        yield blend_case(decision, means)


def blend_case(decision: Decision, members: Sequence[Prediction]) -> Blended:
    """Put one case's member predictions, in the order of the decision's members, together as it says."""
    case_id, weights = members[0].case_id, decision.weights
    weighted, labels = members[: len(weights)], members[len(weights) :]
    if decision.kind == "classification":
        scores, blended, mask = blend_scores([member.scores for member in weighted], weights), None, None
    else:
        blended = blend_maps([member.map for member in weighted], weights)
        mask = mask_of(decision, blended)
        scores = presence(blended)
        if decision.presence:
            of_map = map_scores(levels_of_map(blended), decision.levels)
            scores = fuse(of_map, np.array([member.scores for member in labels], float), decision.shares)
    scores = apply_calibration(decision.calibration, scores).astype(np.float32)
    return Blended(case_id, scores, blended, mask)


def mask_of(decision: Decision, blended: np.ndarray) -> np.ndarray:
    """Mask (M, *spatial) uint8 that a decision makes of a blended map (K, *spatial) uint8."""
    spatial = [Spatial(**decision.spatial[name]) for name in decision.classes] if decision.spatial else []
    return spatial_mask(blended, decision.levels or None, spatial, decision.exclusive)


def predict_case(
    config: Task,
    models: Sequence[nn.Module],
    case_id: str,
    image: Image,
    *,
    exclusive: bool,
    tta: str | None = None,
) -> list[Prediction]:
    """Prepare one image and predict it with every network.

    Raises:
        UserError: the image does not fit the preparation; the message names the case.
    """
    try:
        array, geometry = prepare_image(image, config)
    except BadFile as error:
        raise BadFile(f"case {case_id}: {error}") from None
    return next(predict_cases(config, models, [(case_id, array, geometry)], exclusive=exclusive, tta=tta))


def _load_models(decision: Decision, member: dict) -> list[nn.Module]:
    import torch

    config, device = load(member["spec"]), "cuda" if torch.cuda.is_available() else "cpu"
    paths = [fit_folder(member["spec"], fit["seed"], fit["fold"]) / "weights.safetensors" for fit in member["folders"]]
    return [load_model(config, path, decision.classes, decision.exclusive).to(device) for path in paths]
