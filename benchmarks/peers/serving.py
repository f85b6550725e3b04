"""What the service is compared with: the bare network, FastAPI that answers one at a time, and LitServe.

Called as ``python benchmarks/peers/serving.py bare|fastapi|litserve NAME PORT``. ``bare`` has no port: it reads lines
``alone N``, ``joint N`` and ``call N`` and answers each with the seconds of the clock and of the processor that N
images took.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, UploadFile

try:
    import litserve as ls
except ImportError:
    ls = None

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / "src"), str(Path(__file__).resolve().parents[2])]

BATCH = 16


def served(name: str) -> Any:
    """The decision as the service holds it, on one thread."""
    import torch

    from heldout.predict.allocator import keep_freed_memory
    from heldout.serve.model import Served

    keep_freed_memory()  # as the service does
    torch.set_num_threads(1)
    one = Served(name)
    one.warm()
    return one


def answer(one: Any, content: bytes) -> dict[str, float]:
    """Read, prepare and predict one image, as ``predict`` does."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "image.png").write_bytes(content)
        [case] = one.read(Path(folder))
        [result] = one.predict([one.prepare(case)])
    return dict(zip(one.decision.classes, map(float, result.scores), strict=True))


def bare(name: str) -> None:
    """The network alone: over images that are prepared already, or from the file (``call``)."""
    from heldout.files import home

    one = served(name)
    [path, *_] = sorted((home() / "input" / one.decision.dataset).glob("images/*.png"))
    content = path.read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "image.png").write_bytes(content)
        prepared = [one.prepare(case) for case in one.read(Path(folder))]
    acts: dict[str, tuple[int, Callable[[], Any]]] = {
        "alone": (1, lambda: one.predict(prepared)),
        "joint": (BATCH, lambda: one.predict(prepared * BATCH)),
        "call": (1, lambda: answer(one, content)),
    }
    print("ready", flush=True)
    for line in sys.stdin:
        what, count = line.split()
        step, act = acts[what]
        start, used = time.perf_counter(), time.process_time()
        for _ in range(0, int(count), step):
            act()
        print(time.perf_counter() - start, time.process_time() - used, flush=True)


def fastapi(name: str, port: int) -> None:
    """FastAPI as its tutorial has it: one request after another."""
    import asyncio

    import uvicorn

    one, app, lock = served(name), FastAPI(), asyncio.Lock()

    @app.post("/classify")
    async def classify(file: UploadFile) -> dict[str, float]:
        content = await file.read()
        async with lock:
            return await asyncio.to_thread(answer, one, content)

    uvicorn.run(app, port=port, log_level="warning")


class Lit(ls.LitAPI if ls else object):  # type: ignore[misc]
    """The same decision for LitServe."""

    name = "network"

    def setup(self, device: str) -> None:  # noqa: ARG002 - as LitServe calls it
        """Load the networks."""
        self.one = served(self.name)

    def decode_request(self, request: Request) -> Any:
        """Read and prepare one image, from a form."""
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "image.png").write_bytes(request["file"].file.read())  # type: ignore[index]
            [case] = self.one.read(Path(folder))
            return self.one.prepare(case)

    def batch(self, inputs: list[Any]) -> list[Any]:
        """Images go together."""
        return inputs

    def predict(self, x: list[Any]) -> list[Any]:
        """Predict a batch."""
        return list(self.one.predict(x))

    def unbatch(self, output: list[Any]) -> list[Any]:
        """One by one."""
        return output

    def encode_response(self, output: Any) -> dict[str, float]:
        """Probabilities by class."""
        return dict(zip(self.one.decision.classes, map(float, output.scores), strict=True))


def litserve(name: str, port: int) -> None:
    """LitServe with batches of the same size and wait."""
    Lit.name = name
    api = Lit(max_batch_size=BATCH, batch_timeout=0.004, api_path="/classify")
    ls.LitServer(api, accelerator="cpu", workers_per_device=1, timeout=60).run(
        port=port, log_level="warning", generate_client_file=False
    )


if __name__ == "__main__":
    kind, decision, *rest = sys.argv[1:]
    {"bare": bare, "fastapi": fastapi, "litserve": litserve}[kind](decision, *map(int, rest))
