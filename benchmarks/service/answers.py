"""Answers of the service: under mixed and hostile requests, and beside those of the command ``predict``."""

from __future__ import annotations

import asyncio
import csv
import io
import os
import signal
import statistics
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

from memory import memory
from record import REPOSITORY, Measurement

from service.programs import CLIENTS, Program, service, wait_for

LEVEL = (
    1 / 255
)  # maps are kept in 8 bits: where a voxel is near the middle of two levels, a joint batch may take the other


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
        most = 1e-6 if "areas" not in one else LEVEL
        close = all(abs(one["probabilities"][key] - value) <= most for key, value in other["probabilities"].items())
        areas = zip(one.get("areas", {}).values(), other.get("areas", {}).values(), strict=True)
        return close and all(abs(mine - theirs) <= 1 for mine, theirs in areas)

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
    differ, joint = 0, {"classify": 0.0, "segment": 0.0}
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
                joint[kind] = max(joint[kind], *gaps)
    return [
        Measurement("probabilities of requests alone unlike those of predict", differ, "values", 0),
        Measurement("largest difference in joint batches (predict writes 6 digits)", joint["classify"], "", 1.5e-6),
        Measurement("the same of probabilities taken from maps, which are kept in 8 bits", joint["segment"], "", LEVEL),
    ]
