"""TensorBoard: one directory for everything, ``working/track/tensorboard`` or HELDOUT_TENSORBOARD.

It averages nothing itself: the run of an experiment holds the mean curves of its fits.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from heldout import files
from heldout.track.subject import Point, Subject
from heldout.train.history import write_events


def check() -> None:
    """Nothing has to be set."""


EVENTS = "events.out.tfevents"


def open_tracker(pid: int | None) -> TensorboardTracker:  # noqa: ARG001 - as every tracker
    """The directory."""
    folder = os.environ.get("HELDOUT_TENSORBOARD") or files.home() / "working" / "track" / "tensorboard"
    return TensorboardTracker(str(folder))


@dataclass
class TensorboardTracker:
    """A directory that TensorBoard shows."""

    destination: str

    def open(self, subject: Subject, parent: str | None, known: str | None) -> TensorboardSession:  # noqa: ARG002
        """A run is a folder below, from which an earlier training of the fold is removed."""
        if known is None:
            for path in (Path(self.destination) / subject.key).glob(f"{EVENTS}.*"):
                path.unlink()
        return TensorboardSession(subject.key, Path(self.destination) / subject.key, {"config": dict(subject.config)})


@dataclass
class TensorboardSession:
    """Event files of a run, each written once."""

    id: str
    folder: Path
    settings: dict[str, object]
    _written: int = field(default=0, init=False)

    def log(self, points: Sequence[Point], axis: str) -> None:  # noqa: ARG002 - its page calls them steps
        """Add points."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        self._write(
            (one.step, one.time, [Summary.Value(tag=name, simple_value=value) for name, value in one.values.items()])
            for one in points
        )

    def log_system(self, points: Sequence[Point]) -> None:
        """Add samples of the machine's use."""
        self.log([Point(one.step, one.time, {f"system/{k}": v for k, v in one.values.items()}) for one in points], "")

    def settle(self, subject: Subject) -> None:
        """Add final values, pictures, settings, lineage and records as text."""
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.plugins.text.summary_v2 import text_pb

        texts = {name: json.dumps(values, indent=1) for name, values in self.settings.items()}
        texts["lineage"] = json.dumps(dict(subject.tags), indent=1)
        texts |= {f"records/{path.name}": path.read_text(encoding="utf-8") for path in subject.attached}
        values = [Summary.Value(tag=f"final/{name}", simple_value=value) for name, value in subject.summary.items()]
        for name, path in subject.images.items():
            picture = Summary.Image(encoded_image_string=path.read_bytes(), colorspace=3)
            values.append(Summary.Value(tag=name, image=picture))
        for name, text in texts.items():
            values += text_pb(name, "\n".join(f"    {line}" for line in text.splitlines())).value
        self._write([(max((one.step for one in subject.points), default=0), time.time(), values)])

    def close(self, *, finished: bool) -> None:
        """Nothing is open."""

    def _write(self, events: Iterable[tuple[int, float, list[Any]]]) -> None:
        name = f"{EVENTS}.{time.time_ns()}.{self._written}"
        self._written += 1
        write_events(self.folder / name, events)
