"""A stand-in for Kaggle's ``kaggle_evaluation.rsna_inference_server``, with its interface and stricter manners.

A replay puts this very file, as ``kaggle_evaluation/rsna_inference_server.py``, beside ``test.csv``, ``series/`` and
``limits.json``. It is therefore self-contained: nothing of heldout is imported.
"""

from __future__ import annotations

import csv
import json
import math
import os
import random
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Empty, Queue
from typing import Any

HERE = Path(__file__).resolve().parent
ID = "SeriesInstanceUID"
_LOADED = time.monotonic()


class GatewayError(Exception):
    """The gateway would end the submission here."""


class RSNAInferenceServer:
    """Calls ``predict`` for every series of ``test.csv``, in random order, and writes ``submission.parquet``.

    Args:
        endpoints: One function, named ``predict``.

    Raises:
        GatewayError: it is none.
    """

    def __init__(self, *endpoints: Callable[[str], Any]) -> None:
        if [getattr(endpoint, "__name__", None) for endpoint in endpoints] != ["predict"]:
            raise GatewayError("the server needs one function, and it must be named predict")
        self._predict = endpoints[0]

    def serve(self) -> None:
        """Answer the gateway, which in the scored run is another container."""
        if not os.environ.get("KAGGLE_IS_COMPETITION_RERUN"):
            raise GatewayError("serve() is for the scored run: call run_local_gateway()")
        self._run()

    def run_local_gateway(self, data_paths: tuple[str, str] | None = None) -> None:
        """Do what the gateway does, for a table and a folder of series of one's own if they are named."""
        self._run(*map(Path, data_paths or ()))

    def _run(self, table: Path = HERE / "test.csv", series: Path = HERE / "series") -> None:
        limits = json.loads((HERE / "limits.json").read_text(encoding="utf-8"))
        started = time.monotonic() - _LOADED
        if started > limits["seconds_to_start"]:
            raise GatewayError(
                f"the server started after {started:.0f} s, more than {limits['seconds_to_start']} s: load the "
                "networks in the first call"
            )
        with open(table, encoding="utf-8", newline="") as handle:
            uids = [row[ID] for row in csv.DictReader(handle)]
        random.shuffle(uids)
        answers = _Answers(self._predict)
        rows = []
        for number, uid in enumerate(uids):
            with _shared(series / uid, Path(limits["shared"])) as folder:
                # networks may be loaded in the first call, so its limit is twice as long
                seconds = limits["seconds_per_call"] * (1 if number else 2)
                rows.append({ID: uid, **_checked(uid, answers.ask(str(folder), seconds), limits["columns"])})
        import pandas as pd

        pd.DataFrame(rows).to_parquet("submission.parquet", index=False)


class _Answers:
    """Calls a function in a thread of its own, always the same one, as the real server does."""

    def __init__(self, function: Callable[[str], Any]) -> None:
        self._asked: Queue[str] = Queue()
        self._answered: Queue[tuple[Any, BaseException | None]] = Queue()
        threading.Thread(target=self._work, args=(function,), daemon=True).start()

    def ask(self, argument: str, seconds: float) -> Any:
        self._asked.put(argument)
        try:
            answer, error = self._answered.get(timeout=seconds)
        except Empty:
            raise GatewayError(f"no answer for {Path(argument).name} within {seconds:g} s") from None
        if error is not None:
            raise error
        return answer

    def _work(self, function: Callable[[str], Any]) -> None:
        while True:
            argument = self._asked.get()
            try:
                self._answered.put((function(argument), None))
            except BaseException as error:
                self._answered.put((None, error))


class _shared:  # noqa: N801 - used like a function
    """The files of a series as links below the shared folder, by their full path; a series without files has no folder.

    Leaving refuses a callee that left them there: on Kaggle the disk would fill up.
    """

    def __init__(self, series: Path, shared: Path) -> None:
        self.shared, self.folder = shared, shared / series.relative_to(series.anchor)
        for path in series.glob("*.dcm"):
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / path.name).symlink_to(path)

    def __enter__(self) -> Path:
        return self.folder

    def __exit__(self, kind: object, *_: object) -> None:
        left = list(_files(self.shared))
        shutil.rmtree(self.shared, ignore_errors=True)
        if left and kind is None:
            raise GatewayError(f"predict left {left[0].name} in the shared folder: it has to remove what is there")


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if not path.is_dir())


def _checked(uid: str, frame: Any, columns: list[str]) -> dict[str, float]:
    """The one row of a frame, pandas or polars."""
    if frame is None or not hasattr(frame, "columns"):
        raise GatewayError(f"series {uid} got {type(frame).__name__} instead of a data frame")
    if len(frame) != 1:
        raise GatewayError(f"series {uid} got {len(frame)} rows instead of one")
    if list(frame.columns) != columns:
        wrong = sorted(set(frame.columns) ^ set(columns)) or ["their order"]
        raise GatewayError(f"series {uid} got other columns than asked for: {wrong[0]}")
    row = {name: float(frame[name][0]) for name in columns}
    for name, value in row.items():
        if not (math.isfinite(value) and 0 <= value <= 1):
            raise GatewayError(f"series {uid} got {value} for {name}, which is not a probability")
    return row
