"""MLflow: fits are children of their experiment's run, with its name as a tag that the page of runs groups by.

The server's address is MLFLOW_TRACKING_URI; the package ``mlflow-skinny`` does.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from heldout.errors import UserError
from heldout.track.subject import Point, Subject

LONGEST = 500  # characters of a parameter that servers of any version take
LONGEST_TAG = 5000
BATCH, PARAMETERS = 1000, 100  # of one request


def check() -> None:
    """Refuse a client that does not know its server.

    Raises:
        UserError: MLFLOW_TRACKING_URI is not set.
    """
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        raise UserError(
            "--track mlflow needs the environment variable MLFLOW_TRACKING_URI: set it to the address of the "
            "server, such as http://localhost:5000"
        )


def open_tracker(pid: int | None) -> MlflowTracker:  # noqa: ARG001 - as every tracker
    """A client of the server; it gives up early, as what is not sent now is sent later."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    from mlflow import MlflowClient

    return MlflowTracker(os.environ["MLFLOW_TRACKING_URI"], MlflowClient())


@dataclass
class MlflowTracker:
    """A server of MLflow."""

    destination: str
    client: Any

    def open(self, subject: Subject, parent: str | None, known: str | None) -> MlflowSession:
        """Open a run, with its settings as parameters."""
        client = self.client
        if known is not None:
            client.update_run(known, status="RUNNING")
            return MlflowSession(client, known, resumed=True)
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or subject.project or "heldout"
        experiment = client.get_experiment_by_name(name)
        place = client.create_experiment(name) if experiment is None else experiment.experiment_id
        tags = {"kind": subject.kind, "group": subject.group, **_texts(subject.tags, LONGEST_TAG)}
        if parent is not None:
            tags["mlflow.parentRunId"] = parent
        run = client.create_run(place, tags=tags, run_name=subject.name)
        from mlflow.entities import Param

        parameters = [Param(name, text) for name, text in _texts(subject.config, LONGEST).items()]
        for first in range(0, len(parameters), PARAMETERS):
            client.log_batch(run.info.run_id, params=parameters[first : first + PARAMETERS])
        return MlflowSession(client, run.info.run_id)


@dataclass
class MlflowSession:
    """A run of MLflow."""

    client: Any
    id: str
    resumed: bool = False
    _there: dict[str, set[int]] = field(default_factory=dict, init=False)

    def log(self, points: Sequence[Point], axis: str) -> None:  # noqa: ARG002 - its page calls them steps
        """Add points."""
        from mlflow.entities import Metric

        values = [
            Metric(_allowed(name), value, round(1000 * point.time), point.step)
            for point in points
            for name, value in point.values.items()
            if point.step not in self._steps(_allowed(name))
        ]
        for first in range(0, len(values), BATCH):
            self.client.log_batch(self.id, metrics=values[first : first + BATCH])

    def _steps(self, name: str) -> set[int]:
        """Steps that the server has, as a process may have been killed when it had sent them."""
        if not self.resumed:
            return set()
        if name not in self._there:
            self._there[name] = {one.step for one in self.client.get_metric_history(self.id, name)}
        return self._there[name]

    def log_system(self, points: Sequence[Point]) -> None:
        """Add samples where MLflow shows its own of the machine."""
        self.log([Point(one.step, one.time, {f"system/{k}": v for k, v in one.values.items()}) for one in points], "")

    def settle(self, subject: Subject) -> None:
        """Set final values, tags and artifacts."""
        last = max((one.step for one in subject.points), default=0)
        for name, value in subject.summary.items():
            self.client.log_metric(self.id, _allowed(name), value, round(1000 * time.time()), last)
        for name, text in _texts(subject.tags, LONGEST_TAG).items():
            self.client.set_tag(self.id, name, text)
        for name, path in subject.images.items():
            self.client.log_artifact(self.id, str(path), f"images/{name}")
        for path in subject.attached:
            self.client.log_artifact(self.id, str(path), "records")

    def close(self, *, finished: bool) -> None:
        """End the run."""
        self.client.set_terminated(self.id, "FINISHED" if finished else "KILLED")


def _allowed(name: str) -> str:
    """A name without what servers refuse."""
    return re.sub(r"[^\w./ -]", "_", name)


def _texts(values: Mapping[str, Any], longest: int) -> dict[str, str]:
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in values.items()}
    return {_allowed(name): text if len(text) <= longest else f"{text[: longest - 1]}…" for name, text in texts.items()}
