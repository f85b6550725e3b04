"""What two CPU cores reach on real volumes: the hippocampus experiment, fold 0, from nothing to its Dice.

Needs the Medical Segmentation Decathlon's Task04_Hippocampus below ``$HELDOUT_DATA``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd
from record import REPOSITORY, Measurement, record


def main() -> int:
    """Train fold 0, or read what an earlier training in ``--home`` recorded."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, help="folder with working/ in which to train, or where that was done")
    home = parser.parse_args().home
    with tempfile.TemporaryDirectory() as temporary:
        home = (home or Path(temporary)).resolve()
        command = [sys.executable, "run.py", "exp030", "--fold", "0"]
        subprocess.run(command, cwd=REPOSITORY, env={**os.environ, "HELDOUT_HOME": str(home)}, check=True)
        folder = home / "working" / "runs" / "exp030" / "seed0" / "fold0"
        run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        epochs = pd.read_csv(folder / "metrics.csv")["seconds"]
    return record(
        "hippocampus",
        [
            Measurement("exp030 fold 0: mean Dice of both classes on held-out cases", run["score"], "", 0.88, True),
            Measurement(f"training, {run['epochs']} epochs", run["train_seconds"] / 60, "min", 20),
            Measurement("an epoch, median", epochs.median(), "s"),
            Measurement("parameters", run["parameters"], ""),
        ],
    )


if __name__ == "__main__":
    sys.exit(main())
