"""The interval of a slow metric of the user's own: in one process, in two, and on two Ray nodes."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from record import Measurement

import exps

PATIENTS = 400
FILE = """
import heldout as ho


@ho.metric(higher_is_better=True, scale="logit")
def pairs(cases):
    y, p = cases.truth[:, 0].tolist(), cases.probability[:, 0].tolist()
    positive = [value for true, value in zip(y, p) if true]
    negative = [value for true, value in zip(y, p) if not true]
    above = sum(sum(low < high for low in negative) for _ in range(50) for high in positive)
    return above / (50 * len(positive) * len(negative))
"""


def shared_intervals() -> list[Measurement]:
    """Seconds of an interval by the number of processes and nodes, and whether its bits are equal."""
    import ray
    from ray.cluster_utils import Cluster

    from heldout.launch.blocks import spread_intervals
    from heldout.launch.engine import Engine
    from heldout.launch.local import local_engine
    from heldout.launch.ray_cluster import ray_engine
    from heldout.metrics import get_metric, interval

    random, ids = np.random.default_rng(0), [f"p{number:03}" for number in range(PATIENTS)]
    truth = np.arange(PATIENTS) % 2
    same = {"case_id": ids, "patient_id": ids, "fold": np.arange(PATIENTS) % 5, "y_a": truth}
    table = pd.DataFrame({**same, "p_a": 1 / (1 + np.exp(-random.normal(2.0 * truth - 1)))})
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HELDOUT_HOME"] = folder
        package = Path(folder) / "exps"
        package.mkdir()
        (package / "__init__.py").touch()
        (package / "metrics.py").write_text(FILE, encoding="utf-8")
        exps.__path__.append(str(package))
        sys.path.insert(0, folder)  # where other processes find it
        get_metric("pairs")
        alone, one = _timed(lambda: interval("pairs", table, ["a"]))
        found = [Measurement(f"{PATIENTS} patients, in this process", one, "s")]
        small = {"object_store_memory": 80_000_000}
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **small})
        for _ in range(2):
            cluster.add_node(num_cpus=1, **small)
        engines: dict[str, Callable[[], Engine]] = {
            "two processes": lambda: local_engine(2, 0, None),
            "two Ray nodes": lambda: ray_engine([], cluster.address, 2, None, None),
        }
        for name, make in engines.items():
            spread_intervals(make, lambda line: print(line, flush=True))
            again, seconds = _timed(lambda: interval("pairs", table, ["a"]))
            found += [
                Measurement(f"{name}", seconds, "s"),
                Measurement(f"{name}: times as fast", one / seconds, "", 1.4, at_least=True),
                Measurement(f"{name}: bounds that differ in a bit", float(again != alone), "", 0),
            ]
        ray.shutdown()
        cluster.shutdown()
    return found


def _timed(work: Callable[[], object]) -> tuple[object, float]:
    begun = time.perf_counter()
    return work(), time.perf_counter() - begun
