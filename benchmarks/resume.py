"""Whether a training killed at random moments, and run again, ends with bitwise the same files.

Every round trains one phantom fold in a fresh folder, kills it with SIGKILL at a random moment between its start and
its end, runs the command again to its end, and compares weights, out-of-fold predictions and metrics with those of a
run that nobody disturbed.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from record import REPOSITORY, Measurement, record

SPEC = (
    "exp001+dataset=tiny,epochs=8,seeds=(0,),source_options={'patients':14,'size':48},"
    "steps_per_epoch=4,validate_every=3,workers=1"
)
PROGRAM = """
import sys
from heldout.config import load
from heldout.data.cases import open_dataset
from heldout.train.fit import fit_fold
config = load(sys.argv[1])
dataset = open_dataset(config)
print("begins", flush=True)
fit_fold(config, dataset, 0, 0, quiet=True)
"""


def start(home: Path) -> subprocess.Popen[str]:
    """Start the training, and wait for its first step into the fold."""
    environment = {
        "OMP_WAIT_POLICY": "passive",  # threads that spin make a busy machine many times slower
        **os.environ,
        "HELDOUT_HOME": str(home),
        "PYTHONPATH": f"{REPOSITORY / 'src'}{os.pathsep}{REPOSITORY}",
    }
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, SPEC], env=environment, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY
    )
    assert process.stdout is not None
    if "begins" not in process.stdout.readline():
        raise SystemExit("the training failed to start")
    return process


def finish(process: subprocess.Popen[str]) -> None:
    """Wait for the end of a training that must succeed."""
    if process.wait():
        raise SystemExit(f"the training failed with exit code {process.returncode}")


def outcome(folder: Path) -> dict[str, bytes]:
    """What must not differ: weights, out-of-fold tables and maps, and metrics without the time they took."""
    found = {path.name: path.read_bytes() for path in [*folder.glob("oof_maps/*"), folder / "oof.parquet"]}
    found["weights"] = (folder / "weights.safetensors").read_bytes()
    rows = [line.split(",") for line in (folder / "metrics.csv").read_text(encoding="utf-8").splitlines()]
    clock = rows[0].index("seconds")
    found["metrics"] = repr([row[:clock] + row[clock + 1 :] for row in rows]).encode()
    return found


def main() -> int:
    """Kill, resume and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    moments = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as temporary:
        home = Path(temporary)
        finish(start(home))  # checks the dataset and prepares the arrays
        runs = home / "working" / "runs"
        folder = runs / SPEC / "seed0" / "fold0"
        shutil.rmtree(runs)
        begun = time.perf_counter()
        finish(start(home))
        expected = outcome(folder)
        process_seconds = time.perf_counter() - begun
        shutil.rmtree(runs)
        process = start(home)
        begun = time.perf_counter()
        finish(process)
        seconds = time.perf_counter() - begun
        same_twice = outcome(folder) == expected
        equal = killed = 0
        stages: dict[str, int] = {}
        while killed < arguments.kills:
            shutil.rmtree(runs)
            process = start(home)
            time.sleep(moments.uniform(0, seconds))
            process.send_signal(signal.SIGKILL)
            if process.wait() != -signal.SIGKILL:
                continue  # it was faster this time: another moment
            killed += 1
            stage = describe(folder)
            stages[stage] = stages.get(stage, 0) + 1
            finish(start(home))
            same = outcome(folder) == expected
            equal += same
            print(f"kill {killed}: {stage}: {'equal' if same else 'DIFFERENT'}", flush=True)
    where = ", ".join(f"{stage}: {count}" for stage, count in sorted(stages.items()))
    return record(
        "resume",
        [
            Measurement(f"bitwise equal of {killed} killed and resumed ({where})", equal, "", killed, True),
            Measurement("two undisturbed runs bitwise equal", int(same_twice), "", 1, True),
            Measurement("an undisturbed run, start included", process_seconds, "s"),
            Measurement("the same without start", seconds, "s"),
        ],
    )


def describe(folder: Path) -> str:
    """How far a killed run had come."""
    if (folder / "run.json").exists():
        return "finished"
    if (folder / "weights.safetensors").exists():
        return "predicting"
    metrics = folder / "metrics.csv"
    done = len(metrics.read_text(encoding="utf-8").splitlines()) - 1 if metrics.exists() else 0
    return f"after epoch {done}"


if __name__ == "__main__":
    sys.exit(main())
