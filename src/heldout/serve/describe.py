"""What the service says of a decision itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from heldout.serve.answers import AbstentionInfo, InputInfo, MemberInfo, ModelInfo
from heldout.serve.model import Served
from heldout.serve.reliability import reliability
from heldout.serve.sizes import MOST_VOXELS


def describe(served: Served) -> ModelInfo:
    """What ``/model/info`` says of a decision."""
    decision, config, score = served.decision, served.config, served.decision.score
    shipped = zip(decision.members, served.members, strict=True)
    return ModelInfo(
        name=served.name,
        sealed=served.sealed,
        seal=decision.identity,
        sealed_at=decision.sealed_at,
        warnings=served.notes,
        kind=decision.kind,
        dimensions=served.dimensions,
        two_heads=served.segments and bool(decision.presence_sources),
        objects=decision.finder.objects if decision.finder else None,
        classes=list(decision.classes),
        exclusive=decision.exclusive,
        dataset=decision.dataset,
        metric=decision.metric,
        score=score.cross_fitted,
        interval=(score.low, score.high) if score.low is not None and score.high is not None else None,
        thresholds={name: level / 255 for name, level in decision.thresholds.items()},
        calibration=decision.calibration.method,
        members=[
            MemberInfo(name=one.name, weight=one.weight, networks=len(one.folders), tta=networks.tta)
            for one, networks in shipped
        ],
        input=InputInfo(
            formats=["NIfTI", "DICOM (zip)"] if served.dimensions == 3 else ["PNG", "JPEG", "TIFF", "DICOM"],
            channels=config.channels,
            image_size=list(config.image_size) if config.image_size else None,
            spacing_mm=list(config.spacing) if config.spacing else None,
            most_voxels=MOST_VOXELS,
        ),
        reliability=reliability(decision),
        fingerprint=served.fingerprint,
        network_features=served.features is not None,
        abstention=AbstentionInfo(**decision.abstention.to_json()) if decision.abstention else None,
        card=_card(decision.folder / "model_card.yaml", decision.seal),
    )


def _card(path: Path, seal: str | None) -> dict[str, Any] | None:
    """The model card, where `card` wrote it for this very decision."""
    import yaml

    if not path.is_file():
        return None
    try:
        facts = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError):
        return None
    same = isinstance(facts, dict) and isinstance(facts.get("hashes"), dict) and facts["hashes"].get("seal") == seal
    return facts if same else None
