"""The HTTP service: throughput, latency, mixed requests with a killed process, hostile uploads, bits of answers.

Clients have one core to themselves, what they ask the other. What is compared runs in turns, round after round, so that
other programs of the machine disturb all alike; the median of the rounds counts.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import csv
import io
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memory import memory
from record import REPOSITORY, Measurement, record

CORES = sorted(os.sched_getaffinity(0))
CLIENTS = 16
PEERS = REPOSITORY / "benchmarks" / "peers" / "serving.py"
_OPTIONS = "fold_count=2,epochs=1,near_duplicates=False,source_options={'patients':20,'images_per_patient':1,"
SPECS = {
    "network": f"exp004+dataset=bench,encoder=tf_efficientnet_lite0,tta='hv',{_OPTIONS}'size':256}}",
    "small": f"exp004+dataset=bench_small,{_OPTIONS}'size':64}}",
    "heads": f"exp006+dataset=bench_small,{_OPTIONS}'size':64}}",
    "volumes": f"exp003+dataset=bench3d,{_OPTIONS}'size':32,'dimensions':3,'exclusive':True}}",
}


def make_decisions(home: Path) -> None:
    """Train and seal the decisions that are missing."""
    from heldout.blend.freeze import freeze
    from heldout.blend.search import blend
    from heldout.config import load
    from heldout.train.fit import run_experiment

    for name, spec in SPECS.items():
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
def program(home: Path, *words: str, log: Path, **settings: str) -> Iterator[Program]:
    """Start a program on the second core."""
    environment = {**os.environ, "HELDOUT_HOME": str(home), "OMP_NUM_THREADS": "1", **settings}
    with open(log, "w") as handle:
        process = subprocess.Popen(
            [sys.executable, *words],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if "bare" in words else handle,
            stderr=handle,
            text=True,
            preexec_fn=lambda: os.sched_setaffinity(0, {CORES[-1]}),
        )
    try:
        yield Program(process)
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def service(home: Path, *names: str, log: Path, workers: int = 1, **settings: str) -> Iterator[Program]:
    """Start the service and wait until all its processes are ready."""
    import httpx

    words = (str(REPOSITORY / "run.py"), "serve", *names, "--port", "0", "--device", "cpu", "--workers", str(workers))
    with program(home, *words, log=log, **settings) as one:
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


async def load(one: Program, pictures: Sequence[bytes], count: int) -> tuple[float, float]:
    """Seconds of the clock and of the processor for a number of requests of 16 clients."""
    import httpx

    numbers = iter(range(count))
    limits = httpx.Limits(max_connections=CLIENTS, max_keepalive_connections=CLIENTS)
    async with httpx.AsyncClient(timeout=120, limits=limits) as client:

        async def ask() -> None:
            for number in numbers:
                files = {"file": ("a.png", pictures[number % len(pictures)])}
                answer = await client.post(f"{one.url}/classify", files=files)
                assert answer.status_code == 200, answer.text

        start, used = time.perf_counter(), one.cpu()
        await asyncio.gather(*(ask() for _ in range(CLIENTS)))
        return time.perf_counter() - start, one.cpu() - used


def command(one: Program, words: str) -> tuple[float, float]:
    """Have the bare network work; seconds of the clock and of the processor."""
    assert one.process.stdin is not None
    assert one.process.stdout is not None
    one.process.stdin.write(words + "\n")
    one.process.stdin.flush()
    clock, used = one.process.stdout.readline().split()
    return float(clock), float(used)


def throughput(home: Path, folder: Path, rounds: int, count: int) -> list[Measurement]:
    """Pictures a second, of the service, of the bare network and of what else could serve it."""
    import httpx

    pictures = [path.read_bytes() for path in sorted(home.glob("input/bench/images/*.png"))[:CLIENTS]]
    seen: dict[str, list[tuple[float, float]]] = {}

    def peer(kind: str, port: int) -> Any:
        return program(home, str(PEERS), kind, "network", str(port), log=folder / f"{kind}.log")

    lit = subprocess.run([sys.executable, "-c", "import litserve"], check=False, capture_output=True).returncode == 0
    ports = _free_ports(2)
    with (
        program(home, str(PEERS), "bare", "network", log=folder / "bare.log") as bare,
        service(home, "network", log=folder / "service.log") as ours,
        peer("fastapi", ports[0]) as naive,
    ):
        assert bare.process.stdout is not None
        bare.process.stdout.readline()
        naive.url = f"http://127.0.0.1:{ports[0]}"
        wait_for(lambda: httpx.get(f"{naive.url}/docs").status_code == 200)
        for number in range(rounds + 1):
            found = {
                "alone": command(bare, f"alone {count}"),
                "joint": command(bare, f"joint {count}"),
                "ours": asyncio.run(load(ours, pictures, count)),
                "fastapi": asyncio.run(load(naive, pictures, count)),
            }
            if number:  # the first warms
                for name, value in found.items():
                    seen.setdefault(name, []).append(value)
    if lit:
        with (
            peer("litserve", ports[1]) as other,
            service(home, "network", log=folder / "service.log") as ours,
        ):
            other.url = f"http://127.0.0.1:{ports[1]}"
            wait_for(lambda: httpx.get(f"{other.url}/health").status_code == 200)
            for number in range(rounds + 1):
                pair = [asyncio.run(load(one, pictures, count)) for one in (other, ours)]
                if number:
                    for name, value in zip(("litserve", "ours beside it"), pair, strict=True):
                        seen.setdefault(name, []).append(value)

    def rate(name: str, which: int) -> float:
        return count / statistics.median(value[which] for value in seen[name])

    def ratio(one: str, other: str, which: int) -> float:
        pairs = zip(seen[one], seen[other], strict=True)
        return statistics.median(b[which] / a[which] for a, b in pairs)

    rows = []
    for which, unit, by in ((0, "images/s", "by the clock"), (1, "images/s", "by processor time")):
        names = {
            "alone": "bare network, one at a time",
            "joint": f"bare network, batches of {CLIENTS}",
            "ours": f"service, {CLIENTS} clients",
            "fastapi": f"FastAPI, one at a time, {CLIENTS} clients",
        }
        rows += [Measurement(f"{text}, {by}", rate(name, which), unit) for name, text in names.items()]
        gain = ratio("joint", "alone", which)
        rows += [
            Measurement(f"R: batches over one at a time, {by}", gain, ""),
            Measurement(f"service over bare batches, {by}", ratio("ours", "joint", which), "", 0.85, True),
            Measurement(f"service over R times FastAPI, {by}", ratio("ours", "fastapi", which) / gain, "", 0.85, True),
        ]
        if lit:
            rows += [
                Measurement(f"LitServe, {CLIENTS} clients, {by}", rate("litserve", which), unit),
                Measurement(f"service over LitServe, {by}", ratio("ours beside it", "litserve", which), ""),
            ]
    return rows


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def latency(home: Path, folder: Path, rounds: int = 200) -> list[Measurement]:
    """What the service adds to the call that answers one small picture, in turns with it."""
    import httpx

    content = sorted(home.glob("input/bench_small/images/*.png"))[0].read_bytes()
    calls, asked = [], []
    with (
        program(home, str(PEERS), "bare", "small", log=folder / "bare.log") as bare,
        service(home, "small", log=folder / "service.log") as ours,
        httpx.Client() as client,
    ):
        assert bare.process.stdout is not None
        bare.process.stdout.readline()
        for number in range(rounds + 20):
            call = command(bare, "call 1")[0]
            start = time.perf_counter()
            client.post(f"{ours.url}/classify", files={"file": content}).raise_for_status()
            if number >= 20:
                calls.append(call)
                asked.append(time.perf_counter() - start)
    added = [1000 * (one - other) for one, other in zip(asked, calls, strict=True)]
    return [
        Measurement("call without a service, small picture", 1000 * statistics.median(calls), "ms"),
        Measurement("answer of an idle service, the same", 1000 * statistics.median(asked), "ms"),
        Measurement("added by the service, median", statistics.median(added), "ms", 10),
    ]


def mixed(home: Path, folder: Path, count: int) -> list[Measurement]:
    """Requests of all kinds, one in twenty malformed, while a network process is killed."""
    import httpx
    import nibabel
    import numpy as np

    from tests.serve.hostile import UPLOADS

    picture = sorted(home.glob("input/bench_small/images/*.png"))[0].read_bytes()
    array = np.random.default_rng(4).normal(70, 15, (32, 28, 20)).astype(np.float32)
    volume = nibabel.Nifti1Image(array, np.diag([-1.0, 1.0, 2.0, 1.0])).to_bytes()
    good: list[tuple[str, dict[str, str], bytes]] = [
        ("/classify", {"model": "small"}, picture),
        ("/segment", {"model": "heads"}, picture),
        ("/multitask", {"model": "heads", "files": "false"}, picture),
        ("/classify/gradcam", {"model": "small", "target": "large"}, picture),
        ("/segment/uncertainty", {"model": "heads", "tta": "h", "files": "false"}, picture),
        ("/v1/predict", {"model": "volumes"}, volume),
    ]
    kinds = set(UPLOADS) - {"zip of zeros"}  # whose status depends on the limit of a setting
    bad = [(UPLOADS[kind][0], np.atleast_1d(UPLOADS[kind][1])) for kind in sorted(kinds)]
    bad = [(content, status) for content, status in bad if len(content) < 100_000]
    statuses: Counter[str] = Counter()
    wrong: list[str] = []
    sizes: list[int] = []

    def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
        close = all(abs(one["probabilities"][key] - value) <= 1e-6 for key, value in other["probabilities"].items())
        return close and one.get("areas") == other.get("areas")

    async def run(ours: Program) -> None:
        limits = httpx.Limits(max_connections=CLIENTS, max_keepalive_connections=CLIENTS)
        async with httpx.AsyncClient(timeout=300, limits=limits, base_url=ours.url) as client:

            async def send(number: int) -> httpx.Response:
                path, options, content = good[number % len(good)]
                return await client.post(path, params=options, files={"file": content})

            expected = [(await send(number)).json() for number in range(len(good))]
            numbers = iter(range(count))

            async def ask() -> None:
                for number in numbers:
                    if number == count // 2:
                        os.kill(ours.networks()[0], signal.SIGKILL)
                    if number % 100 == 0:
                        sizes.append(memory(ours.process.pid))
                    if number % 20 == 19:
                        content, right = bad[number // 20 % len(bad)]
                        answer = await client.post("/v1/predict", files={"file": content})
                        statuses["malformed"] += 1
                        if answer.status_code not in (*right, 503):
                            wrong.append(f"{answer.status_code} for a malformed file")
                        continue
                    answer = await send(number)
                    statuses[str(answer.status_code)] += 1
                    if answer.status_code not in (200, 503):
                        wrong.append(f"{answer.status_code} {answer.text[:100]}")
                    elif answer.status_code == 200 and not same(answer.json(), expected[number % len(good)]):
                        wrong.append(f"another answer to {good[number % len(good)][0]}")

            await asyncio.gather(*(ask() for _ in range(CLIENTS)))
            wait_for(lambda: len(ours.networks()) == 2)
            numbers = iter(range(count // 4))  # the new process has served as much as the others had
            await asyncio.gather(*(ask() for _ in range(CLIENTS)))
            sizes.append(memory(ours.process.pid))

    with service(home, "small", "heads", "volumes", log=folder / "service.log", workers=2) as ours:
        asyncio.run(run(ours))
    for text in sorted(set(wrong)):
        print(f"  wrong: {text}", file=sys.stderr)
    before = statistics.median(sizes[count // 400 : count // 200])  # a quarter to a half of the requests
    return [
        Measurement("mixed requests: answered with 200", statuses["200"], "requests"),
        Measurement("mixed requests: told 503", statuses["503"], "requests"),
        Measurement("mixed requests: malformed", statuses["malformed"], "requests"),
        Measurement("mixed requests: wrong or lost", len(wrong), "requests", 0),
        Measurement("memory before the process was killed", before / 1e6, "MB"),
        Measurement("memory at the end, over that", sizes[-1] / before, "", 1.05),
    ]


def hostile(home: Path, folder: Path) -> list[Measurement]:
    """Uploads meant to harm: the status of each, and the memory of the service meanwhile."""
    import httpx

    from tests.serve.hostile import BODIES, LINES, UPLOADS, send_line

    problems, kinds, peak, done = [], 0, 0, threading.Event()

    def watch(pid: int) -> None:
        nonlocal peak
        while not done.wait(0.02):
            peak = max(peak, memory(pid))

    with (
        service(home, "heads", "volumes", log=folder / "service.log", HELDOUT_SERVE_UPLOAD_SECONDS="5") as ours,
        httpx.Client(timeout=300, base_url=ours.url) as client,
    ):
        watcher = threading.Thread(target=watch, args=(ours.process.pid,))
        watcher.start()

        def check(kind: str, status: int, right: Any) -> None:
            nonlocal kinds
            kinds += 1
            if status not in (right if isinstance(right, tuple) else (right,)):
                problems.append(f"{kind}: {status} instead of {right}")

        for kind, (content, right) in UPLOADS.items():
            wide = (right, 415, 422) if kind == "zip of zeros" and isinstance(right, int) else right  # below the limit
            check(kind, client.post("/v1/predict", files={"file": ("../../x", content)}).status_code, wide)
        for kind, (body, right) in BODIES.items():
            check(kind, client.post("/classify", json=body).status_code, right)
        for kind, (line, right) in LINES.items():
            check(kind, send_line(ours.url, line), right)
        processes = ours.networks()
        check("1,000 parts", client.post("/segment/batch", files=[("files", b"x")] * 1000).status_code, (413, 422))
        check("40 MB of JSON", client.post("/classify", json={"image": [[1] * 20_000_000]}).status_code, 413)
        done.set()
        watcher.join()
        died = processes != ours.networks() or client.get("/readyz").status_code != 200
    for text in problems:
        print(f"  {text}", file=sys.stderr)
    return [
        Measurement("hostile uploads", kinds, "kinds", 30, True),
        Measurement("hostile uploads: another status than the right one", len(problems), "kinds", 0),
        Measurement("hostile uploads: processes that died", float(died), "", 0),
        Measurement("hostile uploads: most memory of all processes", peak / 1e6, "MB", 1000),
    ]


def equal(home: Path, folder: Path) -> list[Measurement]:
    """Answers beside those of the command ``predict`` on the same files."""
    import httpx
    import nibabel
    import numpy as np

    array = np.random.default_rng(5).normal(70, 15, (32, 28, 20)).astype(np.float32)
    volume = nibabel.Nifti1Image(array, np.diag([-1.0, 1.0, 2.0, 1.0])).to_bytes()
    pictures = [path.read_bytes() for path in sorted(home.glob("input/bench_small/images/*.png"))[:12]]
    cases = {"small": (pictures, ".png"), "heads": (pictures, ".png"), "volumes": ([volume], ".nii")}
    differ, joint = 0, 0.0
    with service(home, *cases, log=folder / "service.log") as ours:
        for name, (contents, ending) in cases.items():
            source, output = folder / f"{name}_in", folder / f"{name}_out"
            source.mkdir()
            for number, content in enumerate(contents):
                (source / f"{number:02d}{ending}").write_bytes(content)
            words = ("predict", name, "--input", str(source), "--output", str(output))
            environment = {**os.environ, "HELDOUT_HOME": str(home), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
            subprocess.run(
                [sys.executable, "run.py", *words], check=True, capture_output=True, env=environment, cwd=REPOSITORY
            )
            rows = list(csv.DictReader(io.StringIO((output / "predictions.csv").read_text())))
            for content, row in zip(contents, rows, strict=True):
                answer = httpx.post(
                    f"{ours.url}/v1/predict", files={"file": content}, params={"model": name}, timeout=60
                ).json()
                differ += sum(f"{value:.6f}" != row[f"p_{key}"] for key, value in answer["probabilities"].items())
            if name != "volumes":
                kind = "classify" if name == "small" else "segment"
                batch = httpx.post(
                    f"{ours.url}/{kind}/batch",
                    files=[("files", content) for content in contents],
                    params={"model": name},
                    timeout=120,
                ).json()["results"]
                gaps = [
                    abs(value - float(row[f"p_{key}"]))
                    for one, row in zip(batch, rows, strict=True)
                    for key, value in one["probabilities"].items()
                ]
                joint = max(joint, *gaps)
    return [
        Measurement("probabilities of requests alone unlike those of predict", differ, "values", 0),
        Measurement("largest difference in joint batches (predict writes 6 digits)", joint, "", 1.5e-6),
    ]


def main() -> int:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, help="where the decisions are kept; by default a temporary folder")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--count", type=int, default=64, help="pictures of a round")
    parser.add_argument("--only", nargs="*", default=(), help="parts to measure; nothing is recorded")
    given = parser.parse_args()
    parts = {
        "throughput": lambda home, folder: throughput(home, folder, given.rounds, given.count),
        "latency": latency,
        "mixed": lambda home, folder: mixed(home, folder, 2000),
        "hostile": hostile,
        "equal": equal,
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        home = given.home or folder / "home"
        os.environ["HELDOUT_HOME"] = str(home)
        make_decisions(home)
        os.sched_setaffinity(0, {CORES[0]})
        with contextlib.suppress(OSError):  # of root alone: what is measured then runs before other programs
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
        found = []
        for part, act in parts.items():
            if not given.only or part in given.only:
                (folder / part).mkdir()
                found += act(home, folder / part)
        os.sched_setaffinity(0, CORES)
    if given.only:
        for one in found:
            print(
                f"{one.what}: {one.value:.4g} {one.unit} {'' if one.kept is None else 'ok' if one.kept else 'MISSED'}"
            )
        return 0
    return record("serving", found, about(given.rounds, given.count))


def about(rounds: int, count: int) -> str:
    """What the measurements depend on."""
    return (
        "Network: EfficientNet-Lite0 at 256 x 256 with four flips, as exp049_lite0, one thread; small picture: 64 x "
        "64, ResNet-10t. Clients are pinned to one core, service, bare network and the rest to another. The machine "
        f"was shared with other programs on both cores (load {os.getloadavg()[1]:.0f}), so all of this ran with "
        f"real-time priority; what is compared ran in {rounds} turns of {count} pictures and medians count; processor "
        "time is what a program itself used."
    )


if __name__ == "__main__":
    sys.exit(main())
