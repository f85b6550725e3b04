"""Examples of answers, as the API's documentation shows them."""

from __future__ import annotations

from typing import Any

_SEAL = "5f2c9f0c1b7f0a3f7d7e2f6f6f0f3c5f0b0c2a9f4f1f8f6d3f5b7e9a1c2d4e6f"
_ORIGIN = {
    "decision": "frac1",
    "seal": _SEAL,
    "sealed": True,
    "version": "1.0.0",
    "request_id": "0f5c1f2e7f0b4d1c9a3e5b7d9f1a2c4e",
    "took_ms": 41.7,
    "warnings": [],
    "in_distribution": True,
    "abstain": False,
    "research_use_only": True,
}
_CLASS = {
    "prediction": "fracture",
    "confidence": 0.913,
    "calibrated_confidence": 0.874,
    "probabilities": {"fracture": 0.874},
}
_MASK = {
    "shape": [240, 240, 155],
    "spacing_mm": [1.0, 1.0, 1.0],
    "threshold": None,
    "areas": {"lesion": 5120},
    "volumes_ml": {"lesion": 5.12},
    "detections": None,
    "files": {"mask.nii.gz": "H4sIAAAA...", "probability_lesion.nii.gz": "H4sIAAAA..."},
}
_FOUND = {**_CLASS, "prediction": "lesion", "probabilities": {"lesion": 0.874}}
_JOB = {"id": "1c9a3e5b" + "0f5c1f2e7f0b4d1c9a3e5b7d9f1a2c4e", "status": "running", "progress": 0.42, "seconds": 8.31}
_PLACE = {name: _ORIGIN[name] for name in ("decision", "seal", "sealed", "version", "request_id")}

CLASSIFICATION: dict[str, Any] = {**_ORIGIN, **_CLASS}
GRAD_CAM: dict[str, Any] = {**CLASSIFICATION, "explained": "fracture", "heatmap": "iVBORw0KGgo..."}
SEGMENTATION: dict[str, Any] = {**_ORIGIN, **_FOUND, **_MASK}
UNCERTAIN: dict[str, Any] = {
    **SEGMENTATION,
    "mean_dice": 0.931,
    "entropy": 0.0412,
    "epistemic_uncertainty": 0.0071,
    "aleatoric_uncertainty": 0.0341,
    "answers": 16,
}
STACK: dict[str, Any] = {
    **_ORIGIN,
    **_FOUND,
    "slices": 4,
    "areas": {"lesion": [0, 210, 340, 0]},
    "slice_probabilities": {"lesion": [0.02, 0.81, 0.87, 0.04]},
    "volumes_ml": {"lesion": 0.55},
}
BATCH: dict[str, Any] = {
    **{name: value for name, value in _ORIGIN.items() if name != "abstain"},
    "warnings": ["1 of 2 files have no answer"],
    "count": 2,
    "failed": 1,
    "results": [
        CLASSIFICATION,
        {**_PLACE, "error": "files[1] is empty: send the content of an image", "status": 422},
    ],
}
JOB: dict[str, Any] = {**_JOB, **_PLACE}


def shown(example: dict[str, Any]) -> dict[int | str, dict[str, Any]]:
    """An example as the description of an endpoint holds it."""
    return {200: {"content": {"application/json": {"example": example}}}}
