"""Memory of training and prediction on large images: made slides of 5k to 20k pixels, by tile.

For each size a pyramidal TIFF with tissue and glands is written tile by tile. A fold is trained for one epoch on its
tiles, and the image is then predicted by its network with overlapping tiles and written as run lengths, each in a
process of its own, whose peak of anonymous memory is read. Needs the extra ``large``.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from record import REPOSITORY, Measurement, record

SIZES = (5_000, 10_000, 20_000)
TILE, BAR = 512, 1.5  # pixels, GB
KINDS = 7  # of tiles that are repeated
EXPERIMENT = '''"""Glands on made slides, by tile."""

from heldout.tasks.segment import Segment2D


class Exp999(Segment2D):
    dataset = "slides"
    source = "slides"
    source_options = {"labels": "gland", "tile": 2048, "background": 5}
    channels = 3
    image_size = (128, 128)
    fold_count = 2
    test_fraction = 0.0
    near_duplicates = False
    encoder = "resnet18"
    epochs = 1
    steps_per_epoch = 4
    batch_size = 4
    workers = 0
'''


def tiles(size: int, seed: int, channels: int) -> Iterator[np.ndarray]:
    """Tiles of an image, or of its mask: noise with darker disks, which are the glands."""
    rows, columns = np.mgrid[:TILE, :TILE]
    for number in range((-(-size // TILE)) ** 2):
        generator = np.random.default_rng([seed, number % KINDS])
        row, column, radius = generator.uniform(0.3, 0.7, 3) * TILE
        disk = (rows - row) ** 2 + (columns - column) ** 2 < (radius / 3) ** 2
        if channels == 1:
            yield disk.astype(np.uint8)
        else:
            noise = generator.integers(150, 200, (TILE, TILE, 3), np.uint8)
            yield noise - (disk * np.uint8(90))[..., None]


def write_slides(folder: Path, size: int) -> None:
    """Two slides of ``size`` pixels a side with their masks, and the table."""
    import tifffile

    folder.mkdir(parents=True)
    for number in range(2):
        options = {"tile": (TILE, TILE), "dtype": np.uint8}
        picture, mask = folder / f"s{number}.tif", folder / f"s{number}_mask.tif"
        tifffile.imwrite(
            picture, tiles(size, number, 3), shape=(size, size, 3), photometric="rgb", compression="jpeg", **options
        )
        tifffile.imwrite(
            mask, tiles(size, number, 1), shape=(size, size), photometric="minisblack", compression="zlib", **options
        )
    lines = ["id,path,mask", *(f"s{number},s{number}.tif,s{number}_mask.tif" for number in range(2))]
    (folder / "cases.csv").write_text("\n".join(lines), encoding="utf-8")


def peak(arguments: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Largest anonymous memory (GB) of a command and its time (s); its code says both at its end."""
    code = (
        "import sys, threading, time, re, pathlib\n"
        "most = [0]\n"
        "def look():\n"
        "    while True:\n"
        "        text = pathlib.Path('/proc/self/smaps_rollup').read_text()\n"
        "        most[0] = max(most[0], int(re.search(r'Anonymous: +(\\d+)', text)[1]))\n"
        "        time.sleep(0.2)\n"
        "threading.Thread(target=look, daemon=True).start()\n"
        "from heldout.cli import run\n"
        f"code = run({arguments!r})\n"
        "print('PEAK', most[0])\n"
        "sys.exit(code)\n"
    )
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd="/", capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stdout[-2000:] + done.stderr[-2000:])
    return int(re.search(r"PEAK (\d+)", done.stdout)[1]) / 1e6, time.perf_counter() - begun


def measure(size: int, home: Path) -> list[Measurement]:
    """Check, train and predict at one size."""
    write_slides(home / "input" / "slides", size)
    (home / "exps").mkdir()
    (home / "exps" / "__init__.py").write_text("", encoding="utf-8")
    (home / "exps" / "exp999.py").write_text(EXPERIMENT, encoding="utf-8")
    (home / "new").mkdir()
    (home / "new" / "s0.tif").symlink_to(home / "input" / "slides" / "s0.tif")
    environment = {**os.environ, "HELDOUT_HOME": str(home), "HELDOUT_PROJECT": str(home)}
    environment["PYTHONPATH"] = f"{REPOSITORY / 'src'}:{home}"
    environment["LOKY_MAX_CPU_COUNT"] = "1"  # cases are checked in the process that is measured
    environment.pop("HELDOUT_DATA", None)
    what = {
        "check and prepare": ["folds", "exp999"],
        "train a fold": ["train", "exp999", "--fold", "0"],
        "predict": ["predict", "exp999", "--input", str(home / "new"), "--output", str(home / "out")],
    }
    found = []
    for name, arguments in what.items():
        memory, seconds = peak(arguments, environment)
        print(size, name, f"{memory:.2f} GB", f"{seconds:.0f} s", flush=True)
        found.append(Measurement(f"{name}, {size} pixels a side: anonymous memory", memory, "GB", BAR))
        found.append(Measurement(f"{name}, {size} pixels a side: time", seconds, "s"))
    return found


def main() -> int:
    """Measure every size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="*", default=list(SIZES))
    found: list[Measurement] = []
    for size in parser.parse_args().sizes:
        with tempfile.TemporaryDirectory() as folder:
            found += measure(size, Path(folder))
    peaks = [one for one in found if "memory" in one.what and "predict" in one.what]
    found.append(
        Measurement(
            "predict: memory at the largest over that at the smallest", peaks[-1].value / peaks[0].value, "", 1.25
        )
    )
    return record(
        "large_images",
        found,
        "Two made slides of noise with disks, tiles of 2048 pixels shown as 128, ResNet-18 U-Net.",
    )


if __name__ == "__main__":
    sys.exit(main())
