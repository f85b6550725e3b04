"""Is an input like the training images of a decision? A few measures of it, compared with their range."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from heldout import files
from heldout.data import readers
from heldout.data.geometry import orientation
from heldout.data.image import BadFile, Image
from heldout.records import Record, read_record

if TYPE_CHECKING:
    from heldout.blend.apply import OpenDecision
    from heldout.blend.features import FeatureSpread

SAMPLE = 128  # training images that are measured
MARGIN = 0.25  # of the range of the training images, allowed beyond either end
_FEWEST = 10  # images below which no range is known
_QUANTILES = (1, 25, 50, 75, 99)
DISTANCE = "distance of network features"
_REMEDY = "delete it: the service measures the images again"


class FingerprintRecord(Record):
    """``fingerprint.json``: the measures of a decision's training images.

    Attributes:
        identity: Of the decision.
        images: Number of images that were measured.
        channels: Numbers of channels that occur.
        modalities: Modalities of DICOM files that occur; none of other files, and where they were not noted yet.
        lowest, middle, highest: Smallest, median and largest value of every measure.
    """

    schema_version: int = Field(default=1, alias="schema")
    identity: str
    images: int
    channels: tuple[int, ...]
    modalities: tuple[str, ...] = ()
    lowest: dict[str, float]
    middle: dict[str, float]
    highest: dict[str, float]

    @property
    def is_known(self) -> bool:
        """Whether enough images were measured to know a range."""
        return self.images >= _FEWEST

    def unusual(self, image: Image, measures: Mapping[str, float], modality: str = "") -> list[str]:
        """Sentences about measures outside the range of the training images; empty where it is like them."""
        found = []
        if modality and self.modalities and modality not in self.modalities:
            found.append(f"its modality is {modality}, of the training images {' or '.join(self.modalities)}")
        if len(image.array) not in self.channels:
            known = " or ".join(map(str, self.channels))
            found.append(f"it has {len(image.array)} channels, the training images {known}")
        for name, value in measures.items():
            if name not in self.lowest:
                continue
            low, high = self.lowest[name], self.highest[name]
            margin = MARGIN * max(high - low, 0.1 * max(abs(low), abs(high)))
            if not low - margin <= value <= high + margin:
                found.append(f"{name} is {value:.4g}, of the training images {low:.4g} to {high:.4g}")
        return found


def measure(image: Image) -> dict[str, float]:
    """Size, voxel size, intensities and sharpness of an image.

    Args:
        image: (C, *S) as its file holds it.

    Returns:
        Value by name. Axes of volumes are those of the patient, so that a turned volume has the same values.
    """
    dimensions = image.array.ndim - 1
    axes, _ = orientation(image.affine, dimensions)
    found = {f"size along {'xyz'[k]}": float(image.full_shape[axis]) for k, axis in enumerate(axes)}
    if image.affine is not None:
        spacing = np.linalg.norm(image.affine[:3, :3], axis=0)
        found |= {f"voxel size along {'xyz'[k]}, mm": float(spacing[axis]) for k, axis in enumerate(axes)}
    steps = tuple(slice(None, None, max(1, size // 256)) for size in image.array.shape[1:])
    values = image.array[0][steps].astype(np.float32)
    inside = values[values != 0]
    if inside.size:
        for quantile, value in zip(_QUANTILES, np.percentile(inside, _QUANTILES), strict=True):
            found[f"intensity at {quantile} %"] = float(value)
    found["share of nonzero voxels"] = inside.size / values.size
    spread = float(values.std())
    if spread > 0 and min(values.shape) > 1:
        found["roughness"] = float(np.abs(np.diff(values, axis=0)).mean()) / spread
    return found


def modality_of(path: Path) -> str:
    """Modality of a DICOM file, such as ``MR``, or of the first of a folder; empty of other files."""
    if not readers.is_series(path):
        return ""
    from heldout.data.readers.dicom import find_series

    try:
        return find_series(path)[0][0].modality
    except BadFile:  # said when it is read
        return ""


def fingerprint(opened: OpenDecision) -> FingerprintRecord:
    """The fingerprint of a decision: as it was stored, else measured on its training images and stored.

    Raises:
        UserError: the stored one is damaged.
    """
    path, identity = opened.decision.folder / "fingerprint.json", opened.decision.identity
    if path.is_file():
        stored = read_record(path, FingerprintRecord, 1, _REMEDY)
        if stored.identity == identity:
            return stored
    from heldout.blend.features import read_features

    record = _measured(identity, _training_images(opened), read_features(opened.decision))
    record = record.model_copy(update={"modalities": _modalities(opened)})
    files.write_json(path, record.model_dump(mode="json", by_alias=True))
    return record


def _sample(opened: OpenDecision) -> list[str]:
    """Training cases that are measured."""
    names = sorted(opened.dataset.part("train")["case_id"], key=lambda name: files.sha256_bytes(name.encode()))
    return names[:SAMPLE]


def _modalities(opened: OpenDecision) -> tuple[str, ...]:
    dataset = opened.dataset
    found = {modality_of(dataset.source.paths(dataset.row(name)["image"])[0]) for name in _sample(opened)}
    return tuple(sorted(found - {""}))


def _training_images(opened: OpenDecision) -> Iterable[Image]:
    for name in _sample(opened):
        try:
            yield opened.dataset.read_image(name)
        except BadFile:  # set aside in training, too
            continue


def _measured(identity: str, images: Iterable[Image], features: FeatureSpread | None) -> FingerprintRecord:
    rows, channels = [], set()
    for image in images:
        rows.append(measure(image))
        channels.add(len(image.array))
    names = set.intersection(*map(set, rows)) if rows else set()
    values = {name: np.array([row[name] for row in rows]) for name in sorted(names)}
    if features is not None:
        values[DISTANCE] = features.distances
    return FingerprintRecord.model_validate(
        {
            "identity": identity,
            "images": len(rows),
            "channels": tuple(sorted(channels)),
            "lowest": {name: float(one.min()) for name, one in values.items()},
            "middle": {name: float(np.median(one)) for name, one in values.items()},
            "highest": {name: float(one.max()) for name, one in values.items()},
        }
    )


class Recent:
    """The last inputs of every decision, by its seal: how many were unlike the training images, and where they lay."""

    def __init__(self, most: int = 1000) -> None:
        self.most = most
        self._inputs: dict[str, deque[tuple[bool, dict[str, float]]]] = {}

    def add(self, seal: str, usual: bool, measures: dict[str, float]) -> None:
        """Note an input."""
        self._inputs.setdefault(seal, deque(maxlen=self.most)).append((usual, measures))

    def counts(self, seal: str) -> tuple[int, int]:
        """Inputs, and those unlike the training images."""
        known = self._inputs.get(seal, ())
        return len(known), sum(not usual for usual, _ in known)

    def summary(self, seal: str) -> tuple[int, int, dict[str, float]]:
        """Inputs, those unlike the training images, and the median of every measure."""
        known = list(self._inputs.get(seal, ()))
        names = set.intersection(*(set(measures) for _, measures in known)) if known else set()
        medians = {name: float(np.median([measures[name] for _, measures in known])) for name in sorted(names)}
        return *self.counts(seal), medians
