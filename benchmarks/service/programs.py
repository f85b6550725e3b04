"""Programs that are measured: the service and its peers, each alone on a core, and the decisions that they serve."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from record import REPOSITORY

CORES = sorted(os.sched_getaffinity(0))
CLIENTS = 16
_OPTIONS = "fold_count=2,epochs=1,near_duplicates=False,source_options={'patients':20,'images_per_patient':1,"
SPECS = {
    "network": f"exp004+dataset=bench,encoder=tf_efficientnet_lite0,tta='hv',{_OPTIONS}'size':256}}",
    "small": f"exp004+dataset=bench_small,{_OPTIONS}'size':64}}",
    "heads": f"exp006+dataset=bench_small,{_OPTIONS}'size':64}}",
    "volumes": f"exp003+dataset=bench3d,{_OPTIONS}'size':32,'dimensions':3,'exclusive':True}}",
    "large": "exp003+dataset=bench_large,patch_size=(64,64,64),batch_size=1,fold_count=2,epochs=1,"
    "source_options={'patients':10,'images_per_patient':1,'size':64,'dimensions':3,'exclusive':True}",
}


def make_decisions(home: Path, names: Iterable[str] = SPECS) -> None:
    """Train and seal those decisions that are missing."""
    from heldout.blend.freeze import freeze
    from heldout.blend.search import blend
    from heldout.config import load
    from heldout.train.fit import run_experiment

    for name in names:
        spec = SPECS[name]
        if not (home / "working" / "blends" / name / "decision.json").exists():
            config = load(spec)
            run_experiment(config, [0], [config.seeds[0]])
            blend([config.spec], name, sampler="equal", trials=1)
            freeze(name)


@dataclass
class Program:
    """A running program, alone on its core."""

    process: subprocess.Popen[str]
    url: str = ""

    def tree(self) -> list[int]:
        """Process ids of it and of what it started."""
        found = [self.process.pid]
        for pid in found:
            path = Path(f"/proc/{pid}/task/{pid}/children")
            found += map(int, path.read_text().split()) if path.exists() else []
        return found

    def networks(self) -> list[int]:
        """Process ids of network processes."""
        return [pid for pid in self.tree() if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]

    def cpu(self) -> float:
        """Seconds of processor so far."""
        ticks = 0
        for pid in self.tree():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")


@contextmanager
def program(
    home: Path, *words: str, log: Path, cores: Collection[int] = CORES[-1:], **settings: str
) -> Iterator[Program]:
    """Start a program, on the second core."""
    environment = {**os.environ, "HELDOUT_HOME": str(home), "OMP_NUM_THREADS": "1", **settings}
    with open(log, "w") as handle:
        process = subprocess.Popen(
            [sys.executable, *words],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if "bare" in words else handle,
            stderr=handle,
            text=True,
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )
    try:
        yield Program(process)
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def service(
    home: Path, *names: str, log: Path, workers: int = 1, cores: Collection[int] = CORES[-1:], **settings: str
) -> Iterator[Program]:
    """Start the service and wait until all its processes are ready."""
    import httpx

    words = (str(REPOSITORY / "run.py"), "serve", *names, "--port", "0", "--device", "cpu", "--workers", str(workers))
    with program(home, *words, log=log, cores=cores, **settings) as one:
        wait_for(lambda: re.search(r"http://\S+:\d+", log.read_text()))
        one.url = re.findall(r"http://\S+:\d+", log.read_text())[0]
        wait_for(lambda: httpx.get(f"{one.url}/readyz").status_code == 200)
        time.sleep(3 * (workers - 1))
        yield one


def wait_for(what: Any, seconds: float = 180) -> None:
    """Ask until it is true."""
    import httpx

    until = time.monotonic() + seconds
    while True:
        try:
            if what():
                return
        except httpx.TransportError:
            pass
        if time.monotonic() > until:
            raise SystemExit("a program did not become ready")
        time.sleep(0.2)
