"""What the forecast says of fits, predictions and blends, and what they then take."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from record import REPOSITORY, Measurement

if TYPE_CHECKING:
    from heldout.data.dataset import Dataset

FORECASTS = {
    "phantom segmentation": "exp001+dataset=tiny,epochs=8,seeds=(0,),steps_per_epoch=20,validate_every=4,workers=0,"
    "source_options={'patients':30,'size':64}",
    "phantom classification": "exp004+dataset=small,epochs=8,seeds=(0,),steps_per_epoch=30,workers=0,"
    "source_options={'patients':60,'images_per_patient':2,'size':64}",
}
REAL = {"brain MRI (real)": "exp020@quick+epochs=2,seeds=(0,)"}


def forecast() -> list[Measurement]:
    """The forecast of fits, predictions and blends, and what they then took; real ones where ``HELDOUT_DATA`` is set.

    One fold is trained, which then predicts the test part as files and is blended alone.
    """
    from heldout.config import load
    from heldout.data.cases import open_dataset
    from heldout.launch.forecast import forecast_blend, forecast_fit, forecast_prediction
    from heldout.launch.measure import measured
    from heldout.launch.plan import Fit

    home = Path(tempfile.mkdtemp())
    os.environ["HELDOUT_HOME"] = str(home)
    program = [sys.executable, str(REPOSITORY / "run.py")]
    found = []
    for number, (name, spec) in enumerate({**FORECASTS, **(REAL if "HELDOUT_DATA" in os.environ else {})}.items()):
        config = load(spec)
        dataset = open_dataset(config)
        fit = Fit(config.spec, config.seeds[0], config.fold_list[0])
        # as users do: commands let waiting threads sleep, which makes a step slower where nothing else runs
        subprocess.run([*program, "plan", spec, "--json"], stdout=subprocess.DEVNULL, check=True)
        about = measured(fit, None)
        expected, held_out = forecast_fit(config, about), dataset.fold_cases(fit.fold)[1]
        new = _new_files(dataset, home / f"new{number}")
        output = ["--output", str(home / f"out{number}"), "--plain"]
        commands = {
            "fit": ([*program, "train", spec, "--fold", str(fit.fold), "--plain"], expected.seconds),
            "prediction": (
                [*program, "predict", spec, "--input", str(home / f"new{number}"), *output],
                forecast_prediction(about, 1, new).seconds,
            ),
            "blend": (
                [*program, "blend", spec, "--name", f"alone{number}", "--plain"],
                forecast_blend(about, 1, len(held_out), 1).seconds,
            ),
        }
        for what, (words, seconds) in commands.items():
            took, most = _measured_command(words)
            print(f"{name}, {what}: {seconds:.1f} s expected, {took:.1f} s", flush=True)
            found.append(Measurement(f"{name}: error of the time of its {what}", abs(seconds / took - 1), "", 0.25))
            found.append(Measurement(f"{name}: time of its {what}", took, "s"))
            found.append(Measurement(f"{name}: forecast of it", seconds, "s"))
            if what == "fit":
                error = abs(expected.host_bytes / most - 1)
                found.append(Measurement(f"{name}: error of the host memory of its fit", error, "", 0.25))
        folder = fit.folder()
        assert folder is not None
        disk = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        found.append(Measurement(f"{name}: error of the disk of its fit", abs(expected.disk_bytes / disk - 1), ""))
    return found


def _new_files(dataset: Dataset, folder: Path) -> int:
    """Images of the test part, or of a phantom of training cases, as files; how many there are."""
    import shutil

    import cv2

    folder.mkdir()
    rows = dataset.part("test")
    rows = (rows if len(rows) else dataset.part("train")).head(64)
    for row in rows.to_dict("records"):
        paths = dataset.source.paths(row["image"])
        if len(paths) == 1 and paths[0].is_file():
            shutil.copyfile(paths[0], folder / f"{row['case_id']}{paths[0].suffix}")
        else:
            cv2.imwrite(str(folder / f"{row['case_id']}.png"), dataset.read_image(row["case_id"]).array[0])
    return len(rows)


def _measured_command(words: list[str]) -> tuple[float, int]:
    """Seconds and most memory of a command."""
    begun, most = time.monotonic(), 0
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(words, stdout=log, stderr=subprocess.STDOUT)
        while process.poll() is None:
            most = max(most, _peak(process.pid))
            time.sleep(0.1)
        took = time.monotonic() - begun
        log.seek(0)
        assert process.returncode == 0, log.read()[-2000:]
    return took, most


def _peak(pid: int) -> int:
    """Most bytes of memory that a process has held, and what its children hold for themselves."""
    from heldout.launch.processes import children_bytes, peak_bytes

    if not Path(f"/proc/{pid}").exists():
        return 0
    with contextlib.suppress(OSError, StopIteration):
        return peak_bytes(pid) + children_bytes(pid)
    return 0
