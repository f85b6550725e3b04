"""A large folder that is predicted by a command which is killed twice."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from record import REPOSITORY, Measurement


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
