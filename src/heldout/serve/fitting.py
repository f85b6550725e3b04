"""Which endpoint fits a decision, and what it says of a case in words and numbers."""

from __future__ import annotations

from typing import Any

from heldout.serve.answers import ModelInfo
from heldout.serve.messages import Found
from heldout.serve.uploads import Refused


def fits(model: ModelInfo, endpoint: str) -> bool:
    """Whether a decision answers an endpoint."""
    return {
        "any": True,
        "segment": model.segments,
        "classify": not model.segments or model.two_heads,
        "explain": model.classifies,
        "stack": model.kind != "regression",
        "multitask": model.two_heads,
    }[endpoint]


def does(model: ModelInfo) -> str:
    """What a decision does, in words."""
    if model.two_heads:
        return "classifies and segments"
    if model.objects:
        return f"detects {model.objects}"
    return {
        "segmentation": "segments and has no head that classifies",
        "classification": "classifies and makes no masks",
        "regression": "predicts numbers",
    }[model.kind]


def misfit(model: ModelInfo) -> Refused:
    """What is said where an image is sent to a decision on volumes, or the other way round."""
    wanted = (
        "a volume (NIfTI or a zip of DICOM files)" if model.dimensions == 3 else "images (PNG, JPEG, TIFF or DICOM)"
    )
    return Refused(409, f"{model.name} reads {wanted}: send one, or ask another decision")


def endpoint_of(model: ModelInfo) -> str:
    """The endpoint that fits a decision."""
    return "/segment" if model.kind == "segmentation" else "/classify"


def labels_of(model: ModelInfo, found: Found) -> dict[str, Any]:
    """The predicted class and its probabilities, or the numbers of a regression."""
    scores, raw = found.scores, found.uncalibrated
    if model.kind == "regression":
        return {"values": scores, "uncalibrated_values": raw}
    multiclass = model.exclusive and len(model.classes) > 1 and model.kind == "classification"
    cuts = model.thresholds if model.kind == "classification" else {}
    reached = [name for name in scores if round(255 * scores[name]) >= round(255 * cuts.get(name, 0.5))]  # as sealed
    shown = scores if multiclass or not reached else reached
    best = max(shown, key=lambda name: scores[name]) if found.grade is None else model.classes[found.grade]
    positive = multiclass or bool(reached)
    return {
        "prediction": best if positive else "none",
        "confidence": raw[best] if positive else 1 - raw[best],
        "calibrated_confidence": scores[best] if positive else 1 - scores[best],
        "probabilities": scores,
    } | ({} if found.grade is None else {"grade": found.grade})
