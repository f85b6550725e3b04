"""Many fits on many nodes: what scheduling costs on Ray, a simulation of 1,000 fits on 200 nodes, and the forecast.

Each part writes results of its own. ``overhead`` and ``experiment`` need ``pip install 'heldout[scale]'``.
"""

from __future__ import annotations

import argparse
import contextlib
import heapq
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from record import REPOSITORY, RESULTS, Measurement, record

from heldout.launch.order import longest_first

if TYPE_CHECKING:
    from heldout.data.dataset import Dataset

NODES, FITS = 200, 1000
REPLACED_HOURS, START_HOURS = 10 / 60, 40 / 3600  # until another node is there; until a fit trains on it
EPOCHS = 15
BAR = 1.1


@dataclass
class Simulation:
    """Fits on nodes that fail: a failed fit goes on after its last epoch, on whichever node is free.

    Attributes:
        hours: Of every fit.
        needs: Fits that must be finished before a fit.
        nodes: How many.
        failure_hours: Mean time between failures of a node.
        seed: Of the failures.
    """

    hours: dict[int, float]
    needs: dict[int, list[int]]
    nodes: int
    failure_hours: float
    seed: int
    ends: list[float] = field(default_factory=list)
    failures: int = 0

    def run(self) -> float:
        """Hours until the last fit has ended."""
        random_numbers = random.Random(self.seed)
        left, done, running = dict(self.hours), set(), set()
        events: list[tuple[float, int, int, float]] = []  # when, node, fit or -1 for a node that is back, trained
        free = list(range(self.nodes))
        now = 0.0
        while len(done) < len(self.hours):
            for fit in longest_first({one: left[one] for one in left if one not in done}, self.needs):
                if not free:
                    break
                if fit in running or any(need not in done for need in self.needs.get(fit, ())):
                    continue
                node, failure = free.pop(), random_numbers.expovariate(1 / self.failure_hours)
                length = START_HOURS + left[fit]
                running.add(fit)
                if failure < length:
                    epoch = self.hours[fit] / EPOCHS
                    trained = max(0.0, failure - START_HOURS)
                    heapq.heappush(events, (now + failure, node, fit, trained - trained % epoch))
                else:
                    heapq.heappush(events, (now + length, node, fit, left[fit]))
            now, node, fit, trained = heapq.heappop(events)
            if fit < 0:
                free.append(node)
                continue
            running.remove(fit)
            left[fit] -= trained
            if left[fit] <= 1e-9:
                done.add(fit)
                self.ends.append(now)
                free.append(node)
            else:
                self.failures += 1
                heapq.heappush(events, (now + REPLACED_HOURS, node, -1, 0.0))
        return now

    def bound(self) -> float:
        """Hours that no schedule can go below, without any failure: all work shared evenly, or the longest chain."""

        def chain(fit: int) -> float:
            return self.hours[fit] + max(map(chain, self.needs.get(fit, [])), default=0.0)

        return max(sum(self.hours.values()) / self.nodes, max(map(chain, self.hours)))


def measured_hours() -> list[float]:
    """Training hours of the runs of record of this repository, each for one of five folds."""
    paths = sorted((REPOSITORY / "exps" / "results").glob("*.json"))
    hours = [json.loads(path.read_text(encoding="utf-8")).get("hours") for path in paths]
    return [hour / 5 for hour in hours if hour]


def simulate() -> list[Measurement]:
    """Three mixes of fits, the worst of five draws of failures each; draws the finished fits over time."""
    measured, draw = measured_hours(), random.Random(0)
    mixes: dict[str, tuple[list[float], float]] = {
        "runs of record": ([draw.choice(measured) * draw.uniform(0.9, 1.1) for _ in range(FITS)], 12.0),
        "an hour each": ([draw.uniform(0.9, 1.1) for _ in range(FITS)], 12.0),
        "half an hour to four hours": ([draw.uniform(0.5, 4.0) for _ in range(FITS)], 24.0),
    }
    found, curves = [], {}
    for name, (lengths, failure_hours) in mixes.items():
        hours = dict(enumerate(lengths))
        needs = {fit: [fit - 1] for fit in range(1, FITS, 10)}  # a warm start for every tenth
        runs = [Simulation(hours, needs, NODES, failure_hours, seed) for seed in range(5)]
        spans = [one.run() for one in runs]
        worst = max(range(5), key=spans.__getitem__)
        curves[name] = (runs[worst].ends, runs[worst].bound())
        what = f"{FITS:,} fits on {NODES} nodes, {name}: makespan against the lower bound"
        found.append(Measurement(f"{what}, worst of 5", spans[worst] / runs[worst].bound(), "times", BAR))
        found.append(
            Measurement(f"same: failures of nodes, mean of {failure_hours:g} h", runs[worst].failures, "nodes")
        )
    _draw(
        "scale_simulation",
        "hours / lower bound",
        "finished fits",
        {name: ([end / bound for end in ends], list(range(1, FITS + 1))) for name, (ends, bound) in curves.items()},
    )
    return found


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
    _draw(
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


def predict(cases: int = 10_000) -> list[Measurement]:
    """A folder of 10,000 pictures predicted by a small network, in a command that is killed twice."""
    import csv

    import cv2
    import numpy as np

    home = Path(tempfile.mkdtemp())
    folder, output = home / "new", home / "out"
    folder.mkdir()
    draw = np.random.default_rng(0)
    for number in range(cases):
        cv2.imwrite(str(folder / f"{number:05d}.png"), draw.integers(0, 255, (32, 32), dtype=np.uint8))
    spec = (
        "exp004+dataset=tiny,epochs=1,fold_count=2,seeds=(0,),steps_per_epoch=4,workers=0,"
        "source_options={'patients':24,'images_per_patient':1,'size':32}"
    )
    environment = {**os.environ, "HELDOUT_HOME": str(home)}
    program = [sys.executable, str(REPOSITORY / "run.py")]
    subprocess.run([*program, "train", spec, "--plain"], env=environment, check=True, stdout=subprocess.DEVNULL)
    begun, seen, early = time.monotonic(), [], 0
    for kill_at in (cases // 3, 2 * cases // 3, None):
        words = [*program, "predict", spec, "--input", str(folder), "--output", str(output), "--plain"]
        process = subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL)
        while process.poll() is None:
            lines = sum(path.read_bytes().count(b"\n") for path in output.glob(".predicting/*/*/cases.jsonl"))
            memory = _anonymous(process.pid)
            if lines and kill_at is None:
                seen.append((lines, memory))
                early = early or memory
            if kill_at is not None and lines >= kill_at:
                process.kill()
                process.wait()
                print(f"killed after {lines} cases", flush=True)
                break
            time.sleep(0.2)
    took = time.monotonic() - begun
    with open(output / "predictions.csv", encoding="utf-8", newline="") as handle:
        names = [row["name"] for row in csv.DictReader(handle)]
    expected = sorted(path.name for path in folder.iterdir())
    late = [memory for _, memory in seen if memory][len(seen) // 4 :]
    return [
        Measurement(
            f"{cases:,} pictures, killed twice: cases missing or twice",
            len(names) - len(set(names) & set(expected)),
            "",
            0,
        ),
        Measurement("rows of the table", len(names), "cases", cases, at_least=True),
        Measurement("most anonymous memory of the last command / a quarter into it", max(late) / late[0], "times", 1.1),
        Measurement("all three commands", took, "s"),
    ]


def _anonymous(pid: int) -> int:
    """Bytes of memory that are a process's own."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("RssAnon"))
    return 0


FORECASTS = {
    "phantom segmentation": "exp001+dataset=tiny,epochs=8,seeds=(0,),steps_per_epoch=20,validate_every=4,workers=0,"
    "source_options={'patients':30,'size':64}",
    "phantom classification": "exp004+dataset=small,epochs=8,seeds=(0,),steps_per_epoch=30,workers=0,"
    "source_options={'patients':60,'images_per_patient':2,'size':64}",
}
REAL = {"brain MRI (real)": "exp020@quick+epochs=2,seeds=(0,)"}


def forecast() -> list[Measurement]:
    """The forecast of fits, predictions and blends, and what they then took; real ones where ``HELDOUT_DATA`` is set.

    One fold is trained, which then predicts the test part as files and is blended alone.
    """
    from heldout.config import load
    from heldout.data.cases import open_dataset
    from heldout.launch.forecast import forecast_blend, forecast_fit, forecast_prediction
    from heldout.launch.measure import measured
    from heldout.launch.plan import Fit

    home = Path(tempfile.mkdtemp())
    os.environ["HELDOUT_HOME"] = str(home)
    program = [sys.executable, str(REPOSITORY / "run.py")]
    found = []
    for number, (name, spec) in enumerate({**FORECASTS, **(REAL if "HELDOUT_DATA" in os.environ else {})}.items()):
        config = load(spec)
        dataset = open_dataset(config)
        fit = Fit(config.spec, config.seeds[0], config.fold_list[0])
        about = measured(fit, None)
        expected, held_out = forecast_fit(config, about), dataset.fold_cases(fit.fold)[1]
        new = _new_files(dataset, home / f"new{number}")
        output = ["--output", str(home / f"out{number}"), "--plain"]
        commands = {
            "fit": ([*program, "train", spec, "--fold", str(fit.fold), "--plain"], expected.seconds),
            "prediction": (
                [*program, "predict", spec, "--input", str(home / f"new{number}"), *output],
                forecast_prediction(about, 1, new),
            ),
            "blend": (
                [*program, "blend", spec, "--name", f"alone{number}", "--plain"],
                forecast_blend(about, 1, len(held_out)),
            ),
        }
        for what, (words, seconds) in commands.items():
            took, most = _measured_command(words)
            print(f"{name}, {what}: {seconds:.1f} s expected, {took:.1f} s", flush=True)
            found.append(Measurement(f"{name}: error of the time of its {what}", abs(seconds / took - 1), "", 0.25))
            found.append(Measurement(f"{name}: time of its {what}", took, "s"))
            if what == "fit":
                error = abs(expected.host_bytes / most - 1)
                found.append(Measurement(f"{name}: error of the host memory of its fit", error, "", 0.25))
        folder = fit.folder()
        assert folder is not None
        disk = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        found.append(Measurement(f"{name}: error of the disk of its fit", abs(expected.disk_bytes / disk - 1), ""))
    return found


def _new_files(dataset: Dataset, folder: Path) -> int:
    """Images of the test part, or of a phantom of training cases, as files; how many there are."""
    import shutil

    import cv2

    folder.mkdir()
    rows = dataset.part("test")
    rows = (rows if len(rows) else dataset.part("train")).head(64)
    for row in rows.to_dict("records"):
        paths = dataset.source.paths(row["image"])
        if len(paths) == 1 and paths[0].is_file():
            shutil.copyfile(paths[0], folder / f"{row['case_id']}{paths[0].suffix}")
        else:
            cv2.imwrite(str(folder / f"{row['case_id']}.png"), dataset.read_image(row["case_id"]).array[0])
    return len(rows)


def _measured_command(words: list[str]) -> tuple[float, int]:
    """Seconds and most memory of a command."""
    begun, most = time.monotonic(), 0
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(words, stdout=log, stderr=subprocess.STDOUT)
        while process.poll() is None:
            most = max(most, _peak(process.pid))
            time.sleep(0.1)
        took = time.monotonic() - begun
        log.seek(0)
        assert process.returncode == 0, log.read()[-2000:]
    return took, most


def _peak(pid: int) -> int:
    """Most bytes of memory that a process has held, and what its children hold for themselves."""
    from heldout.launch.measure import children_bytes, peak_bytes

    if not Path(f"/proc/{pid}").exists():
        return 0
    with contextlib.suppress(OSError, StopIteration):
        return peak_bytes(pid) + children_bytes(pid)
    return 0


def _draw(name: str, across: str, up: str, curves: dict[str, tuple[list[float], list[float]]]) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
    for label, (x, y) in curves.items():
        axes.plot(x, y, label=label, marker="o" if len(x) < 20 else None)
    axes.set(xlabel=across, ylabel=up)
    if len(next(iter(curves.values()))[0]) < 20:
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_ylim(0, 1.05)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(RESULTS / f"{name}.png", dpi=110)


PARTS: dict[str, Callable[[argparse.Namespace], list[Measurement]]] = {
    "simulation": lambda _: simulate(),
    "overhead": lambda arguments: overhead(arguments.workers),
    "experiment": lambda _: experiment(),
    "predict": lambda _: predict(),
    "forecast": lambda _: forecast(),
}


def main() -> int:
    """Measure the parts asked for; those that have no bar missed exit with 0."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=list(PARTS))
    parser.add_argument("--workers", nargs="*", type=int, default=[1, 2, 4, 8, 16, 32, 64])
    arguments = parser.parse_args()
    codes = [record(f"scale_{part}", PARTS[part](arguments)) for part in arguments.parts]
    return max(codes, default=0)


if __name__ == "__main__":
    sys.exit(main())
