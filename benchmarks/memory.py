"""Resident memory while training, on a dataset and on one ten times larger.

Both trainings take the same number of steps, long enough for every loading process to read many cases, on phantoms that
differ in the number of patients only. A process outside samples the memory of the training and of its loading
processes.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from record import REPOSITORY, Measurement, record

TIMES = 10
# arrays large enough that keeping them in memory would break the bar
PROGRAM = """
import sys
from heldout.data.cases import open_dataset
from heldout.data.prepare import open_prepared
from heldout.config import load
from heldout.train.fit import fit_fold
base = load(sys.argv[1])
size, patch = (384, (192, 192)) if base.dimensions == 2 else (0, (32, 32, 16))
config = base.create(overrides={
    "dataset": f"phantom{sys.argv[2]}",
    "source_options": {**base.source_options, "patients": int(sys.argv[2]), "size": size},
    "patch_size": patch, "fold_count": 5, "batch_size": 4,
    "steps_per_epoch": int(sys.argv[3]), "epochs": 2, "workers": 2, "seeds": (0,),
})
dataset = open_dataset(config)
if sys.argv[4] == "prepare":
    open_prepared(dataset, config, progress=False)
    print(len(dataset.part("train")), sum(p.stat().st_size for p in dataset.folder.rglob("*.npy")))
else:
    print("begins", flush=True)
    fit_fold(config, dataset, 0, 0, quiet=True)
"""


def command(home: Path, spec: str, patients: int, steps: int, what: str) -> subprocess.Popen[str]:
    """Start a process that prepares or trains."""
    environment = {
        "OMP_WAIT_POLICY": "passive",
        **os.environ,
        "HELDOUT_HOME": str(home),
        "PYTHONPATH": f"{REPOSITORY / 'src'}{os.pathsep}{REPOSITORY}",
    }
    words = [sys.executable, "-c", PROGRAM, spec, str(patients), str(steps), what]
    return subprocess.Popen(words, env=environment, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)


def memory(process: int, children_only: bool = False) -> int:
    """Bytes of a process and its children; 0 for one that is gone.

    Pages that several of them share count once. Pages of files, such as libraries and mapped arrays, count where the
    process itself has them resident, whatever other programs share them.
    """
    total = 0
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="ascii").splitlines()[1:]
        sizes = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines}
        total += sizes["Pss_Anon"] + sizes["Pss_Shmem"]
        if not children_only:
            total += sizes["Rss"] - sizes["Anonymous"] - sizes["Pss_Shmem"]
        children = Path(f"/proc/{process}/task/{process}/children").read_text(encoding="ascii").split()
    except (FileNotFoundError, ProcessLookupError):
        return total
    return total + sum(memory(int(child), children_only=True) for child in children)


def train(home: Path, spec: str, patients: int, steps: int) -> tuple[int, int, int]:
    """Cases, bytes of prepared arrays, and the largest memory during a training."""
    prepared, _ = command(home, spec, patients, steps, "prepare").communicate()
    cases, size = (int(word) for word in prepared.split())
    process = command(home, spec, patients, steps, "train")
    largest = 0
    while process.poll() is None:
        largest = max(largest, memory(process.pid))
        time.sleep(0.1)
    if process.returncode:
        raise SystemExit(f"the training failed with exit code {process.returncode}")
    return cases, size, largest


def main() -> int:
    """Train twice and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=60, help="batches per epoch")
    steps = parser.parse_args().steps
    measurements = []
    with tempfile.TemporaryDirectory() as temporary:
        for spec, patients in (("exp002", 40), ("exp003", 40)):
            small = train(Path(temporary) / spec, spec, patients, steps)
            large = train(Path(temporary) / spec, spec, TIMES * patients, steps)
            for cases, size, largest in (small, large):
                what = f"{spec}: peak, {cases} training cases, {size / 1e6:.0f} MB of arrays"
                measurements.append(Measurement(what, largest / 1e6, "MB"))
            growth = 100 * (large[2] / small[2] - 1)
            measurements.append(Measurement(f"{spec}: growth with {TIMES} times the patients", growth, "%", 10))
    return record("memory", measurements)


if __name__ == "__main__":
    sys.exit(main())
