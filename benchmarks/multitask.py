"""One network with two heads against two networks with one head each: parameters, time per image, and both scores.

Parameters and times are those of exp026 against exp025 (masks) and exp027 (labels), all with one encoder, on images of
one size, one image at a time. With ``skip_mask_below`` the decoder rests for the images that the head is sure about;
their share is that of exp026's own out-of-fold scores. The scores come from the runs, where these are finished.
"""

from __future__ import annotations

import argparse
import sys
import time
from statistics import median

import numpy as np
import pandas as pd
import torch
from record import RESULTS, Measurement, record

from heldout.blend.members import load_member
from heldout.config import load
from heldout.errors import UserError
from heldout.metrics import compare, interval, score
from heldout.predict.forward import answer_batch, flip_sets
from heldout.tasks import Task

BOTH, MASKS, LABELS = "exp026@quick", "exp025@quick", "exp027@quick"
LIMIT = 0.1  # the head's probability below which the mask is spared; fixed beforehand, not tuned on these cases
NEGATIVE_SHARE = 0.65  # of the slices of the dataset show no tumour; used while exp026 is not finished
CLASSES = 1


def network(config: Task) -> torch.nn.Module:
    """An experiment's network, freshly drawn."""
    torch.manual_seed(0)
    return config.build_model(CLASSES, False).to(memory_format=torch.channels_last).eval()


def seconds_per_image(ways: dict[str, list[tuple[Task, torch.nn.Module]]], images: np.ndarray) -> dict[str, float]:
    """Median over rounds of the mean time of an image; the ways take turns, so that a busy machine hits all alike."""
    flips, times = flip_sets(load(BOTH), ""), {name: [] for name in ways}
    for _ in range(5):
        for name, parts in ways.items():
            started = time.perf_counter()
            for image in images:
                for config, model in parts:
                    answer_batch(config, model, image[None], False, flips)
            times[name].append((time.perf_counter() - started) / len(images))
    return {name: median(values) for name, values in times.items()}


def spared(config: Task, model: torch.nn.Module, images: np.ndarray, share: float) -> Task:
    """The experiment with a limit that spares a share of these images, as the untrained head scores them."""
    flips = flip_sets(config, "")
    scores = [float(answer_batch(config, model, image[None], False, flips).scores.max()) for image in images]
    limit = float(np.quantile(scores, share, method="higher"))
    return type(config).create(config._budget, {"skip_mask_below": limit})


def speed(share: float, count: int) -> list[Measurement]:
    """Parameters and times."""
    configs = {name: load(name) for name in (BOTH, MASKS, LABELS)}
    models = {name: network(config) for name, config in configs.items()}
    size = {name: sum(value.numel() for value in model.parameters()) / 1e6 for name, model in models.items()}
    both = configs[BOTH]
    images = np.random.default_rng(0).random((count, both.channels, *both.image_size), np.float32)
    skipping = spared(both, models[BOTH], images, share)
    one, two, sure = "one network", "two networks", f"one network, {share:.0%} of the masks spared"
    pair = [(configs[name], models[name]) for name in (MASKS, LABELS)]
    found = seconds_per_image({two: pair, one: [(both, models[BOTH])], sure: [(skipping, models[BOTH])]}, images)
    pixels = " x ".join(map(str, both.image_size))
    return [
        Measurement("parameters, two networks", size[MASKS] + size[LABELS], "million"),
        Measurement("parameters, one network", size[BOTH], "million"),
        Measurement("parameters saved", 100 * (1 - size[BOTH] / (size[MASKS] + size[LABELS])), "%", 9.4, True),
        *(Measurement(f"time of an image of {pixels}, {name}", 1e3 * found[name], "ms") for name in found),
        Measurement("time, one network against two", found[one] / found[two], ""),
        Measurement(f"time, {sure}, against two", found[sure] / found[two], "", 0.6),
    ]


def open_tables() -> tuple[dict[str, pd.DataFrame], tuple[str, ...], list[str]]:
    """Out-of-fold tables of the finished runs, the classes, and what is missing."""
    tables, classes, missing = {}, (), []
    for name in (BOTH, MASKS, LABELS):
        try:
            member = load_member(name)
        except UserError as error:
            missing.append(f"{name}: {error}")
        else:
            tables[name], classes = member.table, member.dataset.classes
    return tables, classes, missing


def compared(metric: str, tables: dict[str, pd.DataFrame], classes: tuple[str, ...], other: str) -> list[Measurement]:
    """Score of the multi-task run and of another, and what the first gains, with 95 % intervals over patients."""
    rows = []
    for name in (BOTH, other):
        if name in tables:
            found = interval(metric, tables[name], classes)
            rows.append(Measurement(f"{metric}, {name} [{found.low:.4f}, {found.high:.4f}]", found.value, ""))
    if BOTH in tables and other in tables:
        gain = compare(metric, tables[BOTH], tables[other], classes)
        what = f"{metric}, gain of {BOTH} over {other} [{gain.low:+.4f}, {gain.high:+.4f}]"
        rows.append(Measurement(what, gain.value, ""))
    return rows


def of_skipping(table: pd.DataFrame, classes: tuple[str, ...]) -> list[Measurement]:
    """What sparing the masks of sure cases would change of the masks."""
    sure = (table[[f"p_{name}" for name in classes]] < LIMIT).all(axis=1)
    positive = table[[f"y_{name}" for name in classes]].any(axis=1)
    empty = table.copy()
    for name in classes:
        empty.loc[sure, f"fn_{name}"] += empty.loc[sure, f"tp_{name}"]
        empty.loc[sure, [f"tp_{name}", f"fp_{name}"]] = 0
    rows = [
        Measurement(f"slices whose mask is spared below {LIMIT}", 100 * sure.mean(), "%"),
        Measurement("slices with tumour among them", float((sure & positive).sum()), f"of {int(positive.sum())}"),
    ]
    for metric in ("dice_pos", "dice_all"):
        before, after = (float(score(metric, one, classes)) for one in (table, empty))
        rows.append(Measurement(f"{metric} of {BOTH}, every mask computed", before, ""))
        rows.append(Measurement(f"{metric} of {BOTH}, masks of sure slices spared", after, ""))
    return rows


def main() -> int:
    """Measure, and say which runs are missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=20, help="images per round")
    count = parser.parse_args().images
    tables, classes, missing = open_tables()
    share = NEGATIVE_SHARE
    if BOTH in tables:
        share = float((tables[BOTH][[f"p_{name}" for name in classes]] < LIMIT).all(axis=1).mean())
    measurements = speed(share, count)
    measurements += compared("dice_pos", tables, classes, MASKS) + compared("roc_auc", tables, classes, LABELS)
    if BOTH in tables:
        measurements += of_skipping(tables[BOTH], classes)
    code = record("multitask", measurements)
    notes = [f"- missing: {text}" for text in missing]
    if notes:
        path = RESULTS / "multitask.md"
        path.write_text(path.read_text(encoding="utf-8") + "\n" + "\n".join(notes) + "\n", encoding="utf-8")
        print("\n".join(notes))
    return code


if __name__ == "__main__":
    sys.exit(main())
