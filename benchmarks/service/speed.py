"""Throughput and latency of the service, beside the bare network and what else could serve it."""

from __future__ import annotations

import asyncio
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from record import REPOSITORY, Measurement

from service.programs import CLIENTS, Program, program, service, wait_for

PEERS = REPOSITORY / "benchmarks" / "peers" / "serving.py"


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
    """Images a second, of the service, of the bare network and of what else could serve it."""
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
    """What the service adds to the call that answers one small image, in turns with it."""
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
        Measurement("call without a service, small image", 1000 * statistics.median(calls), "ms"),
        Measurement("answer of an idle service, the same", 1000 * statistics.median(asked), "ms"),
        Measurement("added by the service, median", statistics.median(added), "ms", 10),
    ]
