"""Settings that fit a dataset: image size, channels and folds, from its index and some of its images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from heldout.data.discover.findings import Proposal
from heldout.data.discover.listing import evenly
from heldout.data.folds import FIFTHS, class_table
from heldout.data.sources import Source, source_class
from heldout.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

_READ = 16  # images
_LARGEST = {2: 256, 3: 96}  # pixels or voxels of a side to begin with
_STEP = {2: 32, 3: 16}
_FOLDS = 5
_FEWEST = 2


def fitted(root: Path, proposal: Proposal) -> Proposal:
    """The proposal with fields that fit the data.

    Raises:
        UserError: the source cannot list the cases, or no image can be read.
    """
    source = source_class(proposal.source)(root, **proposal.options)
    index = source.index()
    labeled = index[index["split"] != "submit"]
    if labeled.empty:
        raise UserError(f"{root} has no labeled case as {proposal.layout}: check that the labels are complete")
    images = _images(source, labeled)
    dimensions = source.dimensions
    shapes = np.array([image.full_shape for image in images])
    channels = max(image.array.shape[0] for image in images)
    fields: dict[str, Any] = {"channels": channels} if channels > 1 else {}
    sides = np.median(shapes, axis=0)
    step, largest = _STEP[dimensions], _LARGEST[dimensions]
    scale = min(1.0, largest / float(sides.max()))
    if dimensions == 2:
        size = tuple(max(step, round(side * scale / step) * step) for side in sides)
        fields["image_size"] = size
    elif proposal.task.startswith("Classify") or proposal.task.startswith("Regress"):
        fields["image_size"] = tuple(max(step, round(side * scale / step) * step) for side in sides)
        fields |= {"normalize": "zscore", "batch_size": 4}
    else:
        fields["patch_size"] = tuple(max(step, min(largest, int(np.ceil(side / step)) * step)) for side in sides)
        fields |= {"normalize": "zscore", "batch_size": 2}
    fields |= _folds(source, labeled, proposal.fields)
    kinds = Counter(image.array.dtype.name for image in images)
    low, high = shapes.min(0), shapes.max(0)
    size_text = _by(low) if (low == high).all() else f"{_by(low)} ... {_by(high)}"
    parts = Counter(index["split"].replace("", "train"))
    found = {
        "cases": ", ".join(f"{number:,} {part}" for part, number in parts.items())
        + f", of {labeled['patient_id'].nunique():,} patients",
        "sizes": f"{size_text} {'pixels' if dimensions == 2 else 'voxels'}, {channels} channel{'s' * (channels > 1)}, "
        f"{', '.join(kinds)} ({len(images)} images read)",
        "classes": f"{len(source.classes)}: {', '.join(source.classes[:12])}"
        + (", ..." if len(source.classes) > 12 else ""),
    }
    more = list(source.report())
    if more:
        found["odd"] = f"{len(more)} line{'s' * (len(more) > 1)}, which `folds` lists: {more[0]}"
    return proposal.with_found(found, **{**fields, **proposal.fields})


def _images(source: Source, index: pd.DataFrame) -> list[Any]:
    images, complaint = [], ""
    for row in evenly(index.to_dict("records"), _READ):
        try:
            images.append(source.read_image(row))
        except UserError as error:
            complaint = complaint or str(error)
    if not images:
        raise UserError(f"{source.root}: none of {_READ} images can be read; the first: {complaint}")
    return images


def _folds(source: Source, labeled: pd.DataFrame, given: Mapping[str, Any]) -> dict[str, Any]:
    """As many folds as the rarest class allows beside a locked test part, up to five."""
    if "fold_count" in given:
        return {}
    groups = labeled["patient_id"].nunique()
    rarest = groups // FIFTHS if source.kind == "regression" else groups
    if source.kind == "classification" and labeled[[f"y_{name}" for name in source.classes]].notna().any(axis=None):
        table = class_table(labeled).drop(columns=[] if len(source.classes) == 1 else ["none"])
        present = table.groupby(labeled["patient_id"]).max().sum()
        rarest = int(present[present > 0].min())
    kept = max(_FEWEST, min(_FOLDS, rarest - 1, groups // 3))
    return {"fold_count": kept} if kept != _FOLDS else {}


def _by(shape: np.ndarray) -> str:
    return " x ".join(f"{side:,}" for side in shape.tolist())
