"""A Ray cluster, and an engine with as many fits at once as it has room for."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from heldout.data.parallel import cores
from heldout.errors import UserError
from heldout.launch import seat as seats
from heldout.launch import travel
from heldout.launch.on_ray import RayEngine
from heldout.launch.ray_job import passed_on
from heldout.launch.worker import own_modules
from heldout.tasks import Task


def connect(address: str | None) -> Any:
    """The library, connected to a cluster.

    Args:
        address: ``auto`` or ``ray://host:10001``; None is ``$RAY_ADDRESS``, or Ray on this machine alone.

    Raises:
        UserError: Ray is not installed, or there is no such cluster.
    """
    try:
        import ray
    except ModuleNotFoundError:
        raise UserError("a Ray cluster needs the package ray: pip install 'heldout[scale]'") from None
    if not ray.is_initialized():
        options: dict[str, Any] = {"address": address, "log_to_driver": False, "logging_level": logging.ERROR}
        options["runtime_env"] = {"env_vars": {**passed_on(), **own_modules()}}
        if address is None and "RAY_ADDRESS" not in os.environ:
            options |= {"num_cpus": cores(), "include_dashboard": False}
        try:
            ray.init(**options)
        except (ConnectionError, ValueError, RuntimeError) as error:
            reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
            raise UserError(
                f"--address {address}: no Ray cluster answers ({reason}); start one with `ray start --head`, leave it "
                "out to use this machine, or set RAY_AUTH_MODE=token where the cluster asks for a token"
            ) from None
    ray.cloudpickle.register_pickle_by_value(seats)  # nodes may have no copy of this package
    return ray


def spread_cases(address: str | None) -> int:
    """Let the nodes do what processes of this machine do otherwise: cases and trials.

    They must see the folders of this machine.

    Returns:
        Cores of the cluster.

    Raises:
        UserError: as :func:`connect`.
    """
    from heldout.data.parallel import work_on

    ray = connect(address)
    from ray.util.joblib import register_ray

    register_ray()
    nodes = _nodes(ray, address)
    cluster = RayCluster(sum(node.cpus for node in nodes), tuple(nodes))
    work_on(cluster)
    return cluster.cores


class Node(NamedTuple):
    """Cores and GPUs of a node."""

    cpus: int
    gpus: float


@dataclass(frozen=True)
class RayCluster:
    """A cluster as :mod:`heldout.data.parallel` uses it.

    Attributes:
        cores: Of all its nodes.
        nodes: What each has.
    """

    cores: int
    nodes: tuple[Node, ...]
    backend: str = "ray"

    def room(self, cpus: int, gpus: float) -> int:
        """How many processes it has room for that take so many cores and, if it has any, GPUs."""
        each = self._gpus(gpus)
        return sum(min(node.cpus // cpus, int(node.gpus // each) if each else node.cpus) for node in self.nodes)

    def options(self, cpus: int, gpus: float) -> dict[str, Any]:
        """By which the actors of a pool reserve these."""
        wanted = {"num_cpus": cpus, "num_gpus": self._gpus(gpus), "scheduling_strategy": "SPREAD"}
        return {"ray_remote_args": wanted}

    def _gpus(self, wanted: float) -> float:
        return wanted if any(node.gpus for node in self.nodes) else 0.0


def _nodes(ray: Any, address: str | None) -> list[Node]:
    """What every node with a core has.

    Raises:
        UserError: there is none.
    """
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    nodes = [Node(int(one.get("CPU", 0)), one.get("GPU", 0.0)) for one in alive if one.get("CPU", 0) >= 1]
    if not nodes:
        raise UserError(f"--address {address}: no node of the cluster has a core; add one with `ray start`")
    return nodes


def ray_engine(
    configs: Sequence[Task],
    address: str | None,
    workers: int | None,
    gpus_per_fit: float | None,
    threads: int | None,
    shared: bool | None = None,
) -> RayEngine:
    """An engine on a cluster, by default with as many fits as it has room for.

    Args:
        configs: What is to be trained.
        address: As :func:`connect` takes it.
        workers: Fits at once; None is as many as there are GPUs for, else as many as ``threads`` have cores.
        gpus_per_fit: GPUs of each; None is one for each of its ``devices`` where the cluster has GPUs.
        threads: CPU threads of each, as far as that is known; None, or ``workers``, shares the cores of a node.
        shared: Whether nodes see the folder of this machine; None looks.

    Raises:
        UserError: as :func:`connect`, or nodes without a common folder cannot train an experiment.
    """
    ray = connect(address)
    if shared is False:
        for config in configs:
            travel.refuse_to_travel(config, "to a node without a common folder")
    nodes = _nodes(ray, address)
    devices = max((config.devices for config in configs), default=1)
    found = any(node.gpus for node in nodes)
    gpus = (float(devices) if found else 0.0) if gpus_per_fit is None else gpus_per_fit
    places = [(node.cpus, int(node.gpus // gpus) if gpus else None) for node in nodes]
    usable = [(cpus, fits) for cpus, fits in places if fits != 0]
    if not usable:
        asked = f"devices = {devices}" if gpus_per_fit is None else f"--gpus-per-fit {gpus:g}"
        raise UserError(f"{asked}: no node of the cluster has as many GPUs; lower it, or leave it out")
    most = None if workers is None else -(-workers // len(usable))  # fits of a node
    share = max(1, min(cpus // min(most or fits or 1, fits or most or 1) for cpus, fits in usable))
    each = min(share if threads is None or workers is not None else threads, 1024)
    room = sum(min(cpus // each, fits or cpus) for cpus, fits in usable)
    return RayEngine(ray, workers or max(1, room), each, gpus, shared)
