"""Options that say where fits are trained, and the engine that they name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from heldout.errors import UserError

if TYPE_CHECKING:
    from heldout.launch.engine import Engine
    from heldout.tasks import Task


class EngineKind(StrEnum):
    """Where fits are trained."""

    local = "local"
    ray = "ray"
    slurm = "slurm"


EngineName = Annotated[
    EngineKind | None,
    typer.Option("--engine", help="do several at once: in processes of this machine, or on a Ray or Slurm cluster"),
]
Workers = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="fits, or parts of other work, at once; by default one for each GPU or share of the cores",
    ),
]
GpusPerFit = Annotated[
    float | None, typer.Option(min=0, metavar="N", help="GPUs of a fit; 0.5 puts two fits on one GPU")
]
Address = Annotated[
    str | None, typer.Option(metavar="ADDRESS", help="of the Ray cluster: auto, or ray://host:10001; else this machine")
]
Shared = Annotated[
    bool | None,
    typer.Option("--shared/--no-shared", help="whether the cluster's nodes see this folder; by default they look"),
]

Submit = Annotated[
    list[str] | None,
    typer.Option(
        "--submit", metavar="KEY=VALUE", help="parameter of submitit for Slurm: slurm_partition=gpu; repeatable"
    ),
]


Spread = Annotated[
    str | None,
    typer.Option(
        "--ray", metavar="ADDRESS", help="work on a Ray cluster that sees this folder: auto, or ray://host:10001"
    ),
]


Processes = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=64,
        help="processes that share the trials: 1, or with --ray as many as the cluster has room for; with more than "
        "one, results depend on timing",
    ),
]


def spread(address: str | None) -> None:
    """Let the nodes of a cluster do what processes of this machine do otherwise; None changes nothing."""
    if address is not None:
        from heldout.launch.ray_cluster import spread_cases

        print(f"on a Ray cluster of {spread_cases(address)} cores")


@dataclass(frozen=True)
class EngineOptions:
    """What the options say.

    Attributes:
        kind: Where fits are trained; None, with nothing else given, is in this process.
        workers: Fits at once.
        gpus_per_fit: GPUs of each.
        address: Of a cluster.
        shared: Whether its nodes see this folder.
        submit: Parameters of submitit.
    """

    kind: EngineKind | None
    workers: int | None
    gpus_per_fit: float | None
    address: str | None
    shared: bool | None
    submit: list[str] | None = None

    @property
    def is_given(self) -> bool:
        """Whether any of them is."""
        return any(value is not None for value in vars(self).values())

    @property
    def trains_here(self) -> bool:
        """Whether fits are trained on this machine alone."""
        return self.kind in (None, EngineKind.local)

    def make(self, configs: Sequence[Task]) -> Engine:
        """The engine that they ask for.

        Raises:
            UserError: it cannot give every fit what they ask for, or an option is of another engine.
        """
        from heldout.train import numerics

        known = [numerics.run_threads(config) for config in configs]
        threads = max((count for count in known if count is not None), default=None)
        devices = max((config.devices for config in configs), default=1)
        for option, value, kinds in (
            ("--address", self.address, {EngineKind.ray}),
            ("--shared", self.shared, {EngineKind.ray}),
            ("--submit", self.submit, {EngineKind.slurm}),
        ):
            if value is not None and self.kind not in kinds:
                raise UserError(f"{option} is of --engine {', '.join(kinds)}: add that, or leave it out")
        if self.kind == EngineKind.ray:
            from heldout.launch.ray_cluster import ray_engine

            return ray_engine(configs, self.address, self.workers, self.gpus_per_fit, threads, self.shared)
        if self.kind == EngineKind.slurm:
            from heldout.launch.on_slurm import slurm_engine

            return slurm_engine(self.workers, self.gpus_per_fit, threads, self.submit or [], devices)

        from heldout.launch.local import local_engine

        return local_engine(self.workers, self.gpus_per_fit, threads, devices)
