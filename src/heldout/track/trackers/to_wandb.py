"""Weights & Biases: runs of a group, whose charts its page averages.

WANDB_MODE, WANDB_PROJECT, WANDB_ENTITY and WANDB_BASE_URL count as everywhere; without an account, WANDB_MODE=offline.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from heldout import files
from heldout.track.subject import Point, Subject

SECONDS = 30  # to wait for the server


def check() -> None:
    """Nothing has to be set."""


def open_tracker(pid: int | None) -> WandbTracker:
    """The service, or the folder of the offline mode."""
    offline = os.environ.get("WANDB_MODE") == "offline"
    place = "offline" if offline else os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")
    return WandbTracker(place, pid)


@dataclass
class WandbTracker:
    """An account of Weights & Biases, or its offline folder."""

    destination: str
    pid: int | None

    def open(self, subject: Subject, parent: str | None, known: str | None) -> WandbSession:  # noqa: ARG002
        """Open a run; its group stands for what it belongs to."""
        import wandb

        folder = files.home() / "working" / "track"
        folder.mkdir(parents=True, exist_ok=True)
        system: dict[str, Any] = {"x_disable_stats": True}
        if self.pid is not None and subject.kind == "fit":
            system = {"x_stats_pid": self.pid}
        run = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or subject.project or "heldout",
            id=known or uuid.uuid4().hex,
            name=subject.name,
            group=subject.group,
            job_type=subject.kind,
            config={**subject.config, "lineage": dict(subject.tags)},
            resume="allow",
            reinit="create_new",
            dir=str(folder),
            settings=wandb.Settings(
                init_timeout=SECONDS, login_timeout=SECONDS, silent=True, console="off", disable_git=True, **system
            ),
        )
        run.define_metric("system/*", step_metric="seconds")
        return WandbSession(run, run.id)


@dataclass
class WandbSession:
    """A run of Weights & Biases."""

    run: Any
    id: str
    defined: set[str] = field(default_factory=set)

    def log(self, points: Sequence[Point], axis: str) -> None:
        """Add points over their own axis."""
        for point in points:
            for name in point.values.keys() - self.defined:
                self.run.define_metric(name, step_metric=axis)
                self.defined.add(name)
            self.run.log({axis: point.step, **point.values})

    def log_system(self, points: Sequence[Point]) -> None:
        """Add samples of the machine's use over seconds since 1970."""
        for point in points:
            self.run.log({"seconds": point.time, **{f"system/{name}": value for name, value in point.values.items()}})

    def settle(self, subject: Subject) -> None:
        """Set summary, tags, pictures and records."""
        import wandb

        self.run.summary.update(dict(subject.summary))
        self.run.config.update({"lineage": dict(subject.tags)}, allow_val_change=True)
        for name, path in subject.images.items():
            self.run.log({name: wandb.Image(str(path))})
        for path in subject.attached:
            self.run.save(str(path), base_path=str(path.parent), policy="now")

    def close(self, *, finished: bool) -> None:
        """End the run."""
        self.run.finish(exit_code=0 if finished else 1)
