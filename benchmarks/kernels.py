"""Kernels of every kind of experiment: trained for seconds on phantoms, sealed, exported, replayed and compared.

Equal means to the last bit on one machine, or within 1e-5 where batches differ.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time

from record import Measurement, record

IMAGES = "source_options={'patients':14,'size':48}"
SERIES = "source_options={'patients':40,'size':16,'slices':8}"
BRIEF = "epochs=1,folds=(0,),seeds=(0,),steps_per_epoch=2"
KINDS = {
    "masks of images": f"exp001+dataset=images,{BRIEF},{IMAGES}",
    "masks of images, trained on patches": f"exp002+dataset=images,{BRIEF},{IMAGES}",
    "masks of volumes": f"exp003+dataset=volumes,{BRIEF}",
    "labels of images": f"exp004+dataset=images,{BRIEF},{IMAGES}",
    "labels of volumes": f"exp005+dataset=volumes,{BRIEF}",
    "labels of DICOM series, server": f"exp052+dataset=series,{BRIEF},{SERIES}",
    "masks and labels of images, two heads": f"exp006+dataset=images,{BRIEF},{IMAGES}",
    "masks of volumes, two stages": "exp007+epochs=1,first_stage=exp003+epochs=1,folds=(0,)",
    "labels of DICOM series in crops, server": f"exp052_crops+dataset=series,{BRIEF},{SERIES}",
    "labels of DICOM series in 2.5D, server": f"exp052_slices+dataset=series,{BRIEF},{SERIES}",
}


def replayed(number: int, spec: str) -> tuple[float, float]:
    """Largest difference between a kernel and the local pipeline, and the seconds from training to the proof.

    Raises:
        SystemExit: a step failed.
    """
    from heldout.blend.verify import open_decision
    from heldout.cli import run
    from heldout.config import load
    from heldout.deliver.kernel.export import export
    from heldout.deliver.kernel.notebook import Kernel
    from heldout.deliver.kernel.rsna2025.server import is_served

    begun, name, config = time.perf_counter(), f"kind{number}", load(spec)
    before = [] if config.first_stage is None else [[config.first_stage]]
    for words in (*before, [spec], ["blend", spec, "--name", name, "--trials", "1"], ["freeze", name]):
        if code := run(words):
            raise SystemExit(f"{' '.join(words)} failed with exit code {code}")
    mode = "server" if is_served(config) else "batch"
    shown = export(open_decision(name), Kernel("USER", "", "test-cases", 0.02, mode)).replay
    return shown.difference, time.perf_counter() - begun


def main() -> int:
    """Replay every kind in a home of its own."""
    measurements = []
    with tempfile.TemporaryDirectory() as home:
        os.environ["HELDOUT_HOME"] = home
        for number, (kind, spec) in enumerate(KINDS.items()):
            difference, seconds = replayed(number, spec)
            what = f"{kind} ({spec.partition('+')[0]})"
            measurements += [
                Measurement(f"{what}: kernel against local, largest difference", difference, "", 1e-5),
                Measurement(f"{kind}: training, sealing, export and replay", seconds, "s"),
            ]
    return record("kernels", measurements)


if __name__ == "__main__":
    sys.exit(main())
