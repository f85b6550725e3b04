"""Ray clusters on this machine: what scheduling costs, and fits whose node is killed."""

from __future__ import annotations

import os
import tempfile
import time

from record import Measurement

from fanout.chart import draw


def overhead(counts: list[int]) -> list[Measurement]:
    """Fits that wait for ten seconds, on a Ray cluster of four local nodes, against the ideal.

    There are 64 of them, but four for each worker where there are fewer than four workers.
    """
    import ray
    from ray.cluster_utils import Cluster

    from heldout.launch import runner
    from heldout.launch.on_ray import RayEngine
    from heldout.launch.queue import QueueEntry
    from heldout.launch.ray_cluster import connect
    from heldout.launch.worker import Order

    class KeptEngine(RayEngine):
        """Keeps its actors for the next run; a cluster that trains has them."""

        def close(self) -> None:
            return

    seconds = 10.0
    os.environ["HELDOUT_HOME"] = tempfile.mkdtemp()
    spec = f"exp004+seeds={tuple(range(32))},threads=1".replace(" ", "")

    def wait(order: Order) -> list[str]:
        folder = order.fit.folder()
        code = f"import time, pathlib; time.sleep({seconds}); p = pathlib.Path({str(folder)!r}); "
        return ["-S", "-E", "-c", code + "p.mkdir(parents=True); (p / 'run.json').write_text('{}')"]

    # no worker processes besides those of the actors: 64 interpreters that start at once would be what is measured
    small = {
        "object_store_memory": 80_000_000,
        "_system_config": {"enable_worker_prestart": False, "memory_monitor_refresh_ms": 0},
    }
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 16, "include_dashboard": False, **small})
    for _ in range(3):
        cluster.add_node(num_cpus=16, object_store_memory=80_000_000)
    library = connect(cluster.address)
    engine = KeptEngine(library, 1, 1, shared=True, command=wait)
    found, efficiencies = [], {}
    for workers in sorted(counts):
        engine.workers = workers
        _warm(engine, workers)
        fits = 64 if workers >= 4 else 4 * workers
        entry = QueueEntry(spec=spec, seeds=tuple(range(fits // 2)), folds=(0, 1), added="")
        begun = time.monotonic()
        assert not runner.run_fits(engine, [entry], lambda _: None)
        took = time.monotonic() - begun
        efficiencies[workers] = -(-fits // workers) * seconds / took
        print(f"{workers} workers: {fits} fits in {took:.1f} s, efficiency {efficiencies[workers]:.3f}", flush=True)
        bar = 0.9 if workers in (4, 16) else None
        what = f"{fits} fits of 10 s on Ray, 4 local nodes, {workers} workers: ideal time / time"
        found.append(Measurement(what, efficiencies[workers], "", bar, at_least=True))
        for fit in entry.fits():
            folder = fit.folder()
            assert folder is not None
            (folder / "run.json").unlink()
            folder.rmdir()
    RayEngine.close(engine)
    ray.shutdown()
    cluster.shutdown()
    draw(
        "scale_overhead",
        "fits at once",
        "efficiency",
        {"4 local nodes": (list(efficiencies), list(efficiencies.values()))},
    )
    return found


def _warm(engine: object, workers: int) -> None:
    """Wait until the cluster has placed the actors, as a cluster that trains has them."""
    placed = [engine._seat(1) for _ in range(workers)]  # type: ignore[attr-defined]
    names = engine.ray.get([one.actor.where.remote() for one in placed])  # type: ignore[attr-defined]
    for one, name in zip(placed, names, strict=True):
        one.node, one.busy = name, False


def experiment() -> list[Measurement]:
    """Five folds and two seeds of a phantom experiment on two Ray nodes, with two kills, against one process."""
    import ray
    from ray.cluster_utils import Cluster

    from heldout import files
    from heldout.config import load
    from heldout.launch.local import LocalEngine
    from heldout.launch.queue import QueueEntry
    from heldout.launch.ray_cluster import connect, ray_engine
    from heldout.launch.runner import run_fits
    from heldout.train import runs

    os.environ["HELDOUT_HOME"] = tempfile.mkdtemp()
    config = load(
        "exp001+dataset=tiny,epochs=3,fold_count=5,seeds=(0,1),steps_per_epoch=6,threads=1,workers=0,"
        "source_options={'patients':30,'images_per_patient':1,'size':48}"
    )
    entry, folder = QueueEntry(spec=config.spec, added=""), runs.run_folder(config.spec)

    def digests() -> dict[str, str]:
        paths = sorted(folder.rglob("*.safetensors"))
        return {path.relative_to(folder).as_posix(): files.sha256_file(path) for path in paths}

    begun = time.monotonic()
    assert not run_fits(LocalEngine(1, nice=0), [entry], lambda line: print(line, flush=True))
    serial, took = digests(), time.monotonic() - begun
    folder.rename(folder.with_name("aside"))
    small = {"object_store_memory": 80_000_000}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **small})
    connect(cluster.address)
    nodes = [cluster.add_node(num_cpus=1, **small) for _ in range(2)]
    kills = []

    def show(*_: object) -> None:
        states = len(list(folder.rglob("state.pt"))) + len(list(folder.rglob("run.json")))
        if len(kills) < 2 and states >= 2 + 4 * len(kills):
            kills.append(time.monotonic())
            cluster.remove_node(nodes.pop(0), allow_graceful=False)
            nodes.append(cluster.add_node(num_cpus=1, **small))
            print("a node was killed", flush=True)

    begun = time.monotonic()
    engine = ray_engine([config], cluster.address, 2, None, 1, None)
    watcher = type("Watch", (), {"show": staticmethod(show)})()
    failed = run_fits(engine, [entry], lambda line: print(line, flush=True), watcher)
    spread = time.monotonic() - begun
    ray.shutdown()
    cluster.shutdown()
    found = digests()
    return [
        Measurement("5 folds x 2 seeds on 2 Ray nodes: failed fits", len(failed), "fits", 0),
        Measurement("nodes killed meanwhile", len(kills), "nodes", 2, at_least=True),
        Measurement("weights unlike those of one process", len(set(serial.items()) ^ set(found.items())), "", 0),
        Measurement("fits compared", len(found), "fits", 10, at_least=True),
        Measurement("one process", took, "s"),
        Measurement("two nodes, two kills, on the same two cores", spread, "s"),
    ]
