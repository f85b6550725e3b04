"""Features of held-out images by a network of a decision, stored when it is sealed: what its images look like to it.

Images are predicted by a network that was not trained on them, so that new images of the same kind have features
spread like theirs.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from heldout import files
from heldout.blend.decision import Decision
from heldout.blend.members import load_member
from heldout.blend.records import FeatureRef
from heldout.blend.session import Session
from heldout.data.transform import prepare_image
from heldout.errors import UserError

FILE = "features.npz"
_MOST = {2: 64, 3: 16}  # images by spatial axes; each is predicted once
_FEWEST = 8
_SMALLEST = 0.1  # of the median deviation: a feature that never varied tells nothing
_REMEDY = "restore it, or blend again under a new name"


@dataclass(frozen=True, eq=False)
class FeatureSpread:
    """How features of held-out images are spread, each by itself.

    Attributes:
        mean, deviation: (F,) float32.
        distances: (n,) float32 of the images, each from the others.
    """

    mean: np.ndarray
    deviation: np.ndarray
    distances: np.ndarray

    def distance(self, features: np.ndarray) -> float:
        """Root mean square of the standardized differences of features (F,): about 1 for an image like the others."""
        return _distance(features, self.mean, self.deviation)


def _distance(features: np.ndarray, mean: np.ndarray, deviation: np.ndarray) -> float:
    return float(np.sqrt((((features - mean) / deviation) ** 2).mean()))


def _spread(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    deviation = rows.std(axis=0, ddof=1)
    return rows.mean(axis=0), np.maximum(deviation, max(_SMALLEST * float(np.median(deviation)), 1e-6))


def store_features(decision: Decision, session: Session) -> FeatureRef:
    """Predict some held-out images of the first member and write ``features.npz``.

    Returns:
        What the decision says of it; empty where the member has a first stage or predictions made elsewhere, or held
        out too few images.
    """
    from heldout.predict.features import Pooler, widest_layer
    from heldout.predict.run import predict_cases

    described = decision.members[0]
    member = load_member(described.name, session)
    first = next(one for one in described.folders if one.fold == decision.folds[0])
    fit = next(fit for fit in member.fits if (fit.seed, fit.fold) == (first.seed, first.fold))
    order = sorted(fit.table.index, key=lambda case_id: files.sha256_bytes(case_id.encode()))
    chosen = order[: _MOST[member.config.dimensions]]
    if member.config.imported is not None or described.first_stage is not None or len(chosen) < _FEWEST:
        return FeatureRef()
    config = member.config.model_copy(update={"predict_precision": member.precision})
    model = session.network(config, fit.folder / "weights.safetensors", member.dataset)

    def cases() -> Iterator[tuple[str, np.ndarray, object]]:
        for case_id in chosen:
            yield case_id, *prepare_image(member.dataset.read_image(case_id), config)

    _, array, _ = next(cases())
    size = config.patch_size or array.shape[1:]
    try:
        layer = widest_layer(model, (len(array), *size))
    except UserError:
        return FeatureRef()
    pooler = Pooler(model, layer)
    found = predict_cases(
        config,
        [model],
        cases(),  # type: ignore[arg-type]
        exclusive=decision.exclusive,
        tta=described.tta,
        pooler=pooler,
    )
    for _ in found:
        pass
    rows = np.array([row for row in pooler.rows if row is not None])
    if len(rows) < _FEWEST:
        return FeatureRef()
    mean, deviation = _spread(rows)
    apart = [_distance(row, *_spread(np.delete(rows, number, axis=0))) for number, row in enumerate(rows)]
    buffer = io.BytesIO()
    np.savez(buffer, mean=mean, deviation=deviation, distances=np.array(apart, np.float32))
    files.write_bytes(decision.folder / FILE, buffer.getvalue())
    return FeatureRef(
        seed=first.seed,
        fold=first.fold,
        layer=layer,
        images=len(rows),
        sha256=files.sha256_bytes(buffer.getvalue()),
    )


def read_features(decision: Decision) -> FeatureSpread | None:
    """The stored features; None of decisions that have none.

    Raises:
        UserError: the file is missing or changed.
    """
    if not decision.features:
        return None
    path = decision.folder / FILE
    if not path.is_file() or files.sha256_file(path) != decision.features.sha256:
        raise UserError(f"{path} is missing or changed: {_REMEDY}")
    with np.load(path) as arrays:
        return FeatureSpread(arrays["mean"], arrays["deviation"], arrays["distances"])
