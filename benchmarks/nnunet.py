"""nnU-Net beside us: hippocampus, the same fold and machine, equal wall times and equal numbers of samples.

nnU-Net 2.8 gets an environment of its own, our fold table as ``splits_final.json``, its own plan of ``3d_fullres``,
and a schedule that ends with the wall time (`peers/nnunet_training.py`); reading, planning and validation are outside
its clock. Its held-out predictions are imported, scored by our scorer, and blended with ours. Leave the machine idle.

Needs Task04_Hippocampus below ``$HELDOUT_DATA``. What ``--folder`` holds already is not trained again.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from record import REPOSITORY, Measurement, record

if TYPE_CHECKING:
    from heldout.train.record import RunRecord

VERSION = "2.8.1"
NUMBER = 4  # of the dataset, as nnU-Net counts
EXPERIMENT = "exp030_short"
FOLD = 0
DICES = (0.86, 0.87, 0.88)
# Freed memory stays with the process: without this a third of nnU-Net's time on a CPU goes into page faults.
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": str(1 << 32), "MALLOC_TRIM_THRESHOLD_": str(1 << 33)}


@dataclass(frozen=True)
class Trained:
    """A training of either system.

    Attributes:
        who: Which system.
        minutes: Wall time of its training.
        samples: Patches or crops it saw.
        dice: Mean Dice of both classes over the held-out cases, by our scorer.
    """

    who: str
    minutes: float
    samples: int
    dice: float


class Nnunet:
    """nnU-Net in its environment, on the cases and folds of the experiment."""

    def __init__(self, folder: Path, environment: Path) -> None:
        self.folder, self.bin = folder, environment / "bin"
        places = {name: str(folder / name) for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")}
        self.variables = {**os.environ, **ALLOCATOR, **places, "nnUNet_n_proc_DA": "1", "nnUNet_def_n_proc": "2"}
        self.variables["PATH"] = f"{self.bin}{os.pathsep}{os.environ['PATH']}"
        if not (self.bin / "nnUNetv2_train").exists():
            subprocess.run([sys.executable, "-m", "venv", environment], check=True)
            subprocess.run([self.bin / "python", "-m", "pip", "install", "-q", f"nnunetv2=={VERSION}"], check=True)

    def prepare(self) -> None:
        """Write the dataset and the folds as nnU-Net wants them, plan, and preprocess."""
        from heldout.config import load
        from heldout.data.cases import open_dataset

        dataset = open_dataset(load(EXPERIMENT))
        fold = dataset.folds
        splits = [
            {"train": list(fold.index[fold != k]), "val": list(fold.index[fold == k])} for k in sorted(fold.unique())
        ]
        name = f"Dataset{NUMBER:03d}_Hippocampus"
        raw, preprocessed = self.folder / "nnUNet_raw" / name, self.folder / "nnUNet_preprocessed" / name
        if not (preprocessed / "splits_final.json").exists():
            source = Path(os.environ["HELDOUT_DATA"]) / "Task04_Hippocampus"
            for kind, ending in (("imagesTr", "_0000.nii.gz"), ("labelsTr", ".nii.gz")):
                (raw / kind).mkdir(parents=True, exist_ok=True)
                for case_id in fold.index:
                    shutil.copyfile(source / kind / f"{case_id}.nii.gz", raw / kind / f"{case_id}{ending}")
            labels = {"background": 0} | {one: k + 1 for k, one in enumerate(dataset.classes)}
            described = {"channel_names": {"0": "MRI"}, "labels": labels, "numTraining": len(fold)}
            (raw / "dataset.json").write_text(json.dumps(described | {"file_ending": ".nii.gz"}), encoding="utf-8")
            self._run("nnUNetv2_plan_and_preprocess", "-d", NUMBER, "-c", "3d_fullres", "-np", 2, "-npfp", 2)
            (preprocessed / "splits_final.json").write_text(json.dumps(splits), encoding="utf-8")

    def train(self, minutes: float) -> tuple[Path, dict[str, Any]]:
        """Train a fold for so long; the folder of its predictions, and what the training says of itself."""
        kept = self.folder / f"minutes{minutes:g}"
        if not (kept / "report.json").exists():
            script = REPOSITORY / "benchmarks" / "peers" / "nnunet_training.py"
            given = ("--dataset", NUMBER, "--fold", FOLD, "--minutes", minutes)
            report = json.loads(self._run("python", script, *given).splitlines()[-1])
            shutil.copytree(Path(report["folder"]) / "validation", kept / f"fold_{FOLD}" / "validation")
            (kept / "report.json").write_text(json.dumps(report), encoding="utf-8")
        return kept, json.loads((kept / "report.json").read_text(encoding="utf-8"))

    def _run(self, program: str, *arguments: object) -> str:
        command = [str(self.bin / program), *map(str, arguments)]
        with subprocess.Popen(command, env=self.variables, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            lines = []
            for line in process.stdout:
                print(line, end="", flush=True)
                lines.append(line)
        if process.returncode:
            raise SystemExit(f"{program} ended with {process.returncode}")
        return "".join(lines)


def run(*words: object) -> None:
    """A command of ours."""
    subprocess.run([sys.executable, "run.py", *map(str, words)], cwd=REPOSITORY, check=True)


def fit_record(spec: str) -> RunRecord:
    """The record of the fold of a run."""
    from heldout.train.runs import fit_folder, read_run

    return read_run(fit_folder(spec, 0, FOLD))


def ours(epochs: int) -> Trained:
    """Train our experiment for a number of epochs, unless it was."""
    from heldout.config import load
    from heldout.data.cases import open_dataset

    spec = f"{EXPERIMENT}+epochs={epochs}"
    run("train", EXPERIMENT, "--fold", FOLD, "--set", f"epochs={epochs}")
    read = fit_record(load(spec).spec)
    dataset = open_dataset(load(spec))
    return Trained("heldout", read.train_seconds / 60, epochs * len(dataset.fold_cases(FOLD)[0]), read.score)


def theirs(peer: Nnunet, minutes: float) -> Trained:
    """Train nnU-Net, unless it was, and score its held-out predictions as ours are."""
    folder, report = peer.train(minutes)
    name = f"nnunet{minutes:g}".replace(".", "_")
    spec = f"{EXPERIMENT}+imported={name}"
    if not (Path(os.environ["HELDOUT_HOME"]) / "working" / "runs" / spec).exists():
        run("import-oof", name, "--oof", folder, "--by", f"nnU-Net {VERSION}", "--like", EXPERIMENT)
    return Trained("nnU-Net", report["seconds"] / 60, report["samples"], fit_record(spec).score)


def first_to(dice: float, trained: list[Trained]) -> tuple[float, bool]:
    """Minutes of the shortest training that reached a Dice, and whether one did; else those of the longest."""
    reached = [one.minutes for one in trained if one.dice >= dice]
    return (min(reached), True) if reached else (max(one.minutes for one in trained), False)


def main() -> int:
    """Train both, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=REPOSITORY / "working" / "nnunet", help="where both train")
    parser.add_argument("--environment", type=Path, help="virtual environment of nnU-Net; made where there is none")
    parser.add_argument("--minutes", type=float, nargs="+", default=[5, 15, 30], help="wall times of nnU-Net")
    parser.add_argument("--epochs", type=int, nargs="+", default=[2, 4, 7, 14, 20], help="lengths of ours")
    given = parser.parse_args()
    folder = given.folder.resolve()
    os.environ["HELDOUT_HOME"] = str(folder / "home")
    peer = Nnunet(folder, (given.environment or folder / "environment").resolve())
    run("folds", EXPERIMENT)
    peer.prepare()
    peers = [theirs(peer, minutes) for minutes in given.minutes]
    own = [ours(epochs) for epochs in given.epochs]
    best = max(own, key=lambda one: one.dice)

    found = []
    for one in peers:
        found.append(Measurement(f"nnU-Net, {one.minutes:.1f} min, {one.samples:,} samples: Dice", one.dice, ""))
        if fitting := [mine for mine in own if mine.minutes <= one.minutes]:
            mine = max(fitting, key=lambda mine: mine.minutes)
            found.append(
                Measurement(f"ours in no more time, {mine.minutes:.1f} min: Dice", mine.dice, "", one.dice, True)
            )
        mine = min(own, key=lambda mine: abs(mine.samples - one.samples))
        found.append(Measurement(f"ours of about as many samples, {mine.samples:,}: Dice", mine.dice, ""))
    for dice in DICES:
        (quick, we_did), (other, they_did) = first_to(dice, own), first_to(dice, peers)
        found += [
            Measurement(f"ours: minutes to Dice {dice:.2f}{'' if we_did else ', not reached in'}", quick, "min"),
            Measurement(f"nnU-Net: minutes to it{'' if they_did else ', not reached in'}", other, "min"),
        ]
        if dice == 0.87 and we_did:
            found.append(Measurement(f"ours over nnU-Net{'' if they_did else ', at most'}", quick / other, "", 1 / 3))
    found += [Measurement(f"ours, {one.minutes:.1f} min, {one.samples:,} samples: Dice", one.dice, "") for one in own]
    spec = f"{EXPERIMENT}+epochs={given.epochs[own.index(best)]}"
    other = f"nnunet{given.minutes[-1]:g}".replace(".", "_")
    name = f"{other}-beside-{given.epochs[own.index(best)]}"
    decision = folder / "home" / "working" / "blends" / name / "decision.json"
    if not decision.exists():
        run("blend", spec, other, "--name", name, "--sampler", "equal")
    from heldout.blend.decision import read_decision

    score = read_decision(name).score.in_sample
    assert score is not None, "the blend scored its members"
    found.append(Measurement("our best and nnU-Net's longest, blended with equal weights: Dice", score, ""))
    precision = fit_record(spec).precision
    return record(
        "nnunet",
        found,
        f"{EXPERIMENT} fold {FOLD} and nnU-Net {VERSION}, 3d_fullres; ours in {precision}, nnU-Net in float32, as each "
        "trains on a CPU by default",
    )


if __name__ == "__main__":
    sys.exit(main())
