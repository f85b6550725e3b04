"""Trackio: a local dashboard (``trackio show``), or a Space of Hugging Face by TRACKIO_SPACE_ID."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from heldout.track.subject import Point, Subject


def check() -> None:
    """Nothing has to be set."""


def open_tracker(pid: int | None) -> TrackioTracker:  # noqa: ARG001 - as every tracker
    """The local store, or a Space."""
    return TrackioTracker(os.environ.get("TRACKIO_SPACE_ID") or os.environ.get("TRACKIO_DIR") or "local")


@dataclass
class TrackioTracker:
    """A store of Trackio."""

    destination: str

    def open(self, subject: Subject, parent: str | None, known: str | None) -> TrackioSession:  # noqa: ARG002
        """Open a run; its group stands for what it belongs to."""
        import trackio

        name = known or f"{subject.name} {uuid.uuid4().hex[:6]}"  # a fold that is trained again is another run
        run = trackio.init(
            project=subject.project or "heldout",
            name=name,
            group=subject.group,
            config={**subject.config, "lineage": dict(subject.tags)},
            resume="allow",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )
        return TrackioSession(run, name)


@dataclass
class TrackioSession:
    """A run of Trackio."""

    run: Any
    id: str

    def log(self, points: Sequence[Point], axis: str) -> None:  # noqa: ARG002 - its page calls them steps
        """Add points."""
        for point in points:
            self.run.log(dict(point.values), step=point.step)

    def log_system(self, points: Sequence[Point]) -> None:
        """Add samples of the machine's use."""
        for point in points:
            self.run.log_system(dict(point.values))

    def settle(self, subject: Subject) -> None:
        """Add final values, pictures, and the records as text."""
        import trackio

        pictures = {name: trackio.Image(str(path)) for name, path in subject.images.items()}
        records = {
            f"records/{path.name}": trackio.Markdown(f"```\n{path.read_text(encoding='utf-8')}\n```")
            for path in subject.attached
        }
        lineage = trackio.Markdown(f"```\n{json.dumps(dict(subject.tags), indent=1)}\n```")
        values = {f"final/{name}": value for name, value in subject.summary.items()}
        self.run.log({**values, **pictures, **records, "lineage": lineage})

    def close(self, *, finished: bool) -> None:  # noqa: ARG002 - as every tracker
        """Write what waits."""
        self.run.finish()
