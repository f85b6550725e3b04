"""What a tracker is told of one fit, experiment, trial, search, blend or test evaluation. Free of torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from heldout import files


@dataclass(frozen=True)
class Point:
    """Values of one epoch, trial, or moment.

    Attributes:
        step: Its number.
        time: Seconds since 1970.
        values: By name.
    """

    step: int
    time: float
    values: Mapping[str, float]


@dataclass(frozen=True)
class Subject:
    """What becomes one run in a tracker.

    Attributes:
        key: Its place below ``working/``, such as ``runs/exp042/seed0/fold1``; also where its state is kept.
        source: What it is read from, as :func:`heldout.track.read.subjects` takes it.
        kind: ``fit``, ``experiment``, ``search``, ``trial``, ``blend`` or ``test``.
        name: Shown by the tracker.
        project: The dataset: scores of different datasets do not compare.
        group: What it is averaged with: the experiment of a fit, the search of a trial.
        parent: Key of the subject that it belongs to; None where there is none.
        config: Settings.
        tags: Lineage and hashes.
        axis: What the steps of ``points`` count.
        points: Losses and scores, in order.
        system: Use of the machine, in order.
        summary: Final values, scores with intervals among them.
        images: Curves and overlays, by name.
        attached: Records to store with it.
        finished: Nothing more will come, unless it is made again.
    """

    key: str
    source: str
    kind: str
    name: str
    project: str
    group: str
    parent: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    axis: str = "epoch"
    points: Sequence[Point] = ()
    system: Sequence[Point] = ()
    summary: Mapping[str, float] = field(default_factory=dict)
    images: Mapping[str, Path] = field(default_factory=dict)
    attached: Sequence[Path] = ()
    finished: bool = False

    def first(self) -> str:
        """SHA-256 of the first point's values, which no other training has; empty while there is none."""
        return files.sha256_json({k: repr(v) for k, v in self.points[0].values.items()}) if self.points else ""

    def digest(self) -> str:
        """SHA-256 of all but the points: whether a tracker knows the latest."""
        hashes = {path.name: files.sha256_file(path) for path in (*self.images.values(), *self.attached)}
        parts = [dict(self.tags), {name: repr(value) for name, value in self.summary.items()}, hashes, self.finished]
        return files.sha256_json(parts)
