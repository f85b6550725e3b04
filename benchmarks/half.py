"""Masks of held-out cases in half precision against float32, on a CPU: ``half.py exp030_short exp040_lite0``.

A CPU predicts in float32 where float16 is asked for; here it is made to compute it, as a GPU would.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from record import Measurement, record

from heldout.blend.members import Member, load_member
from heldout.data.prepare import open_prepared
from heldout.metrics.overlap import case_dice, count_errors
from heldout.predict import forward
from heldout.predict.models import load_model
from heldout.predict.prediction import to_mask
from heldout.predict.run import predict_cases
from heldout.progress import track

FORMATS = {"16-mixed": ("float16", 1e-4), "bf16-mixed": ("bfloat16", 1e-3)}  # name, largest share that may differ
DICE_BAR = 1e-4


@dataclass(frozen=True)
class Masks:
    """What one number format makes of the cases.

    Attributes:
        masks: One (M, *S) mask per case.
        dice: Mean Dice of the classes that a case has, over cases.
    """

    masks: list[np.ndarray]
    dice: float


def predict(member: Member, names: list[str], precision: str) -> Masks:
    """Masks of held-out cases by the first fit of a run, without flips."""
    config = member.config.model_copy(update={"predict_precision": precision})
    dataset, fit = member.dataset, member.fits[0]
    model = load_model(config, fit.folder / "weights.safetensors", dataset.classes, dataset.exclusive)
    prepared = open_prepared(dataset, config)

    def cases() -> Iterator[tuple[str, np.ndarray, object]]:
        for name in track(names, len(names), f"{member.name} in {precision}"):
            yield name, prepared.image(name), prepared.geometry(name)

    masks, dice = [], []
    for [found] in predict_cases(config, [model], cases(), exclusive=dataset.exclusive, tta=""):
        mask = to_mask(found.map, None, dataset.exclusive)
        counts = count_errors(mask, dataset.truth(found.case_id), len(dataset.classes), dataset.exclusive)
        present = counts[:, 0] + counts[:, 2] > 0
        masks.append(mask)
        dice.append(case_dice(counts, 1.0)[present].mean())
    return Masks(masks, float(np.mean(dice)))


def main() -> int:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="*", default=["exp030_short", "exp040_lite0"], help="trained segmentations")
    parser.add_argument("--cases", type=int, default=20, help="held-out cases of each, all with something to find")
    options = parser.parse_args()
    forward.resolve = lambda wanted, _: wanted
    found = []
    for member in map(load_member, options.runs):
        table, classes = member.fits[0].table, member.dataset.classes
        there = table[[f"{kind}_{name}" for name in classes for kind in ("tp", "fn")]].sum(axis=1) > 0
        names = list(table.index[there][: options.cases])
        exact = predict(member, names, "32-true")
        for precision, (called, bar) in FORMATS.items():
            half = predict(member, names, precision)
            other = [np.mean(one != two) for one, two in zip(exact.masks, half.masks, strict=True)]
            what = f"{member.name}, {len(names)} cases, {called}"
            found += [
                Measurement(f"{what}: pixels or voxels of another class", float(np.mean(other)), "", bar),
                Measurement("same: Dice differs by", abs(half.dice - exact.dice), "", DICE_BAR),
            ]
    return record("half", found, "each run's first fit, without flips; float32 is the reference")


if __name__ == "__main__":
    sys.exit(main())
