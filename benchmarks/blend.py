"""What blending costs: one trial, its memory, building the histograms, and how all of it grows.

The maps resemble what fracture models predict: `sure` ones are empty but for smooth blobs, `soft` ones say a little
everywhere, as models trained briefly do. One case in five holds the class; a third of the others hold a false alarm.
"""

from __future__ import annotations

import argparse
import gc
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from record import RESULTS, Measurement, record
from scipy.ndimage import gaussian_filter, zoom

from heldout.blend.distinct import distinct_voxels
from heldout.blend.histogram import JointHistogram, join
from heldout.blend.mask_objective import MaskObjective
from heldout.blend.study import SearchPlan, best_of_trials
from heldout.blend.values import blend_maps
from heldout.journal import Journal
from heldout.predict.prediction import Prediction
from heldout.predict.store import read_map, write_predictions

SIZE = 384
CASES = 600
WEIGHTS = (310, 270, 420)
LOOPED = 12  # cases of the plain loop, whose time is scaled up


def smooth(random: np.random.Generator, grid: int) -> np.ndarray:
    """(SIZE, SIZE) noise of about unit variance that changes over ``grid`` pixels."""
    coarse = gaussian_filter(random.standard_normal((SIZE // grid + 3,) * 2), 1.0)
    return zoom(coarse, grid, order=1)[:SIZE, :SIZE] / 0.28


def phantom(random: np.random.Generator, members: int, *, positive: bool, soft: bool) -> tuple[np.ndarray, np.ndarray]:
    """(members, 1, SIZE, SIZE) uint8 probabilities and (SIZE, SIZE) uint8 truth of one case."""
    base = (-3.4 if soft else -9.0) + 0.7 * smooth(random, 32)
    logits = [base + 0.3 * smooth(random, 16) for _ in range(members)]
    truth = np.zeros((SIZE, SIZE), np.uint8)
    if positive or random.random() < 0.35:
        center, turn = random.uniform(60, SIZE - 60, 2), random.uniform(0, np.pi)
        rows, columns = np.mgrid[:SIZE, :SIZE] - center[:, None, None]
        along = (rows * np.cos(turn) + columns * np.sin(turn)) / random.uniform(8, 40)
        across = (columns * np.cos(turn) - rows * np.sin(turn)) / random.uniform(4, 16)
        distance = np.hypot(along, across)
        height = random.uniform(8, 12) if positive else random.uniform(2, 9)
        for logit in logits:
            logit += height * random.uniform(0.7, 1.2) * np.exp(-0.5 * distance**2 * random.uniform(0.5, 1.2))
            logit += 0.5 * smooth(random, 8) * (distance < 3)
        if positive:
            truth = (distance < 1).astype(np.uint8)
    return np.rint(255 / (1 + np.exp(-np.stack(logits)))).astype(np.uint8)[:, None], truth


def phantoms(count: int, members: int, *, soft: bool) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Cases, one in five positive."""
    random = np.random.default_rng(members)
    for number in range(count):
        yield phantom(random, members, positive=number % 5 == 0, soft=soft)


@dataclass
class Built:
    """Histogram of a set, with what making it took (median seconds per case)."""

    histogram: JointHistogram
    frame: pd.DataFrame
    reading: float
    reducing: float
    map_bytes: int

    def objective(self, copies: int = 1) -> MaskObjective:
        """The cases, repeated, to be tuned for the Dice of positives."""
        frame = pd.concat([self.frame.assign(case_id=self.frame["case_id"] + f"_{i}") for i in range(copies)])
        one = self.histogram
        sizes = np.tile(np.diff(one.starts), copies)
        values, voxels = np.tile(one.values, (1, 1, copies)), np.tile(one.voxels, copies)
        histogram = JointHistogram(values, voxels, np.concatenate([[0], np.cumsum(sizes)]))
        return MaskObjective(frame.reset_index(drop=True), ("a",), "dice_pos", (histogram,))


def build(count: int, members: int, *, soft: bool) -> Built:
    """Store maps as training does, read them as blending does, and reduce them; each step is timed."""
    parts, positive, reading, reducing, size = [], [], [], [], 0
    for number, (maps, truth) in enumerate(phantoms(count, members, soft=soft)):
        with tempfile.TemporaryDirectory() as temporary:
            folders, digests = [Path(temporary) / str(m) for m in range(members)], []
            row = pd.DataFrame({"case_id": ["x"], "patient_id": ["x"], "y_a": [1.0]})
            for folder, one in zip(folders, maps, strict=True):
                prediction = Prediction("x", np.zeros(1, np.float32), one)
                digests.append(write_predictions(folder, "oof", [prediction], row, exclusive=False).maps["x"])
            began = time.perf_counter()
            read = [read_map(folder, "oof", "x", digest) for folder, digest in zip(folders, digests, strict=True)]
            reading.append(time.perf_counter() - began)
        began = time.perf_counter()
        parts.append(distinct_voxels(np.stack(read), truth))
        reducing.append(time.perf_counter() - began)
        positive.append(float(truth.any()))
        size += maps.nbytes
        assert number < count
    ids = [f"case{i}" for i in range(count)]
    frame = pd.DataFrame({"case_id": ids, "patient_id": ids, "fold": np.arange(count) % 5, "y_a": positive})
    return Built(join(parts), frame, float(np.sum(reading)), float(np.sum(reducing)), size)


def loop(count: int, *, soft: bool) -> tuple[np.ndarray, float]:
    """(256,) Dice of positives by a loop over maps and thresholds, and its seconds of processor per case."""
    total, positives, seconds = np.zeros(256), 0, 0.0
    for maps, truth in phantoms(count, 3, soft=soft):
        began = time.process_time()
        blended, true = blend_maps(maps, WEIGHTS)[0], truth > 0
        for threshold in range(256):
            mask = blended >= threshold
            hits = np.count_nonzero(mask & true)
            both = np.count_nonzero(mask) + np.count_nonzero(true)
            total[threshold] += 2 * hits / both if true.any() else 0
        positives += true.any()
        seconds += time.process_time() - began
    return total / positives, seconds / count


def timed(
    function: Callable[[], object], repeats: int = 15, clock: Callable[[], float] = time.perf_counter
) -> list[float]:
    """Seconds of several calls, after one that does not count."""
    function()
    found = []
    for _ in range(repeats):
        began = clock()
        function()
        found.append(clock() - began)
    return found


def trial_times(objective: MaskObjective, sampler: str, trials: int = 200) -> list[float]:
    """Seconds from trial to trial of a search: asking, scoring, recording in the journal."""
    moments: list[float] = []

    class Watched(MaskObjective):
        def tune(self, weights: Sequence[int]) -> object:
            moments.append(time.perf_counter())
            return super().tune(weights)

    watched = Watched(objective.frame, objective.classes, objective.metric, objective.histograms)
    first = [tuple(int(1000 * share) for share in row) for row in np.eye(objective.members)]
    with tempfile.TemporaryDirectory() as temporary:
        journal = Journal(Path(temporary) / "study.journal", "benchmark")
        best_of_trials(watched, SearchPlan(sampler, trials), first, journal, "all")
    return list(np.diff(moments))


def peak(function: Callable[[], object]) -> int:
    """Bytes that a call allocates at most beyond what it found."""
    gc.collect()
    tracemalloc.start()
    function()
    _, highest = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return highest


def measure(built: Built, name: str, *, soft: bool) -> list[Measurement]:
    """The bars, on one set."""
    objective = built.objective()
    expected, per_case = loop(LOOPED, soft=soft)
    few = objective.select(np.arange(len(objective.frame)) < LOOPED)
    difference = float(np.abs(few._threshold_trials[0].scores(WEIGHTS) - expected).max())
    scoring = timed(lambda: objective.tune(WEIGHTS))
    histogram = objective.histograms[0]
    fresh = MaskObjective(objective.frame, ("a",), "dice_pos", objective.histograms)
    working = peak(lambda: fresh.tune(WEIGHTS))  # what is prepared for trials included
    looped = per_case * len(objective.frame)
    faster = looped / float(np.median(timed(lambda: objective.tune(WEIGHTS), clock=time.process_time)))
    bars = not soft  # memory and building are held to their bars where maps are as mature models predict them
    found = [
        Measurement(f"{name}: loop over maps and thresholds, scaled from {LOOPED} cases", looped, "s of processor"),
        Measurement(f"{name}: all 256 thresholds of one weighting, median", 1e3 * float(np.median(scoring)), "ms"),
        Measurement(f"{name}: times faster than the loop, both in time of processor", faster, "x", 500, True),
        Measurement(f"{name}: largest difference of a score from the loop", difference, "", 1e-12),
    ]
    for sampler in ("tpe", "cmaes"):
        times = 1e3 * np.array(trial_times(objective, sampler))
        found.append(Measurement(f"{name}: one trial ({sampler}), median of 200", float(np.median(times)), "ms", 20))
        found.append(Measurement(f"{name}: one trial ({sampler}), slowest of 200", float(times.max()), "ms"))
    share = (histogram.nbytes + working) / built.map_bytes
    ratio = (built.reading + built.reducing) / built.reading
    return [
        *found,
        Measurement(f"{name}: maps of {len(objective.frame)} cases", built.map_bytes / 1e6, "MB"),
        Measurement(f"{name}: rows of the histogram", len(histogram.voxels), "rows"),
        Measurement(f"{name}: histogram", histogram.nbytes / 1e6, "MB"),
        Measurement(f"{name}: histogram and search, share of the maps", share, "x", 0.1 if bars else None),
        Measurement(f"{name}: reading the stored maps", 1e3 * built.reading / len(objective.frame), "ms per case"),
        Measurement(f"{name}: reading and reducing, in readings", ratio, "x", 2 if bars else None),
    ]


def growth(built: Built) -> list[Measurement]:
    """Cost of scoring as cases grow, drawn in ``blend.png``; the exponent is the slope on logarithmic axes.

    Time on the processor is counted: the longer a call, the more a machine that does something else besides delays it.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    sizes, fastest = [], []
    for copies in (1, 4, 16):
        objective = built.objective(copies)
        sizes.append(len(objective.frame))
        fastest.append(1e3 * min(timed(lambda one=objective: one.tune(WEIGHTS), 40, time.process_time)))
    exponent = float(np.log(fastest[-1] / fastest[0]) / np.log(sizes[-1] / sizes[0]))
    figure, axes = pyplot.subplots(figsize=(5, 3.4), layout="constrained")
    axes.loglog(sizes, fastest, "o-", label="measured")
    axes.loglog(sizes, [fastest[0] * size / sizes[0] for size in sizes], "--", color="gray", label="linear")
    axes.set(xlabel="cases", ylabel="ms per weighting, all thresholds", title="Cost of a trial's score")
    axes.set_xticks(sizes, [str(size) for size in sizes], minor=False)
    axes.minorticks_off()
    axes.legend()
    figure.savefig(RESULTS / "blend.png", dpi=120, metadata={"Software": None})
    found = [
        Measurement(f"scoring {size} cases, fastest of 40", least, "ms")
        for size, least in zip(sizes, fastest, strict=True)
    ]
    return [*found, Measurement("growth of the cost with the cases, as a power of them", exponent, "", 1.05)]


def by_members(count: int) -> list[Measurement]:
    """Rows, bytes and times for several numbers of members, on soft maps, the harder ones."""
    found = []
    for members in (2, 3, 5, 8):
        built = build(count, members, soft=True)
        objective = built.objective()
        weights = tuple(np.diff(np.linspace(0, 1000, members + 1).round().astype(int)))
        median = 1e3 * float(np.median(timed(lambda one=objective, w=weights: one.tune(w), 9)))
        trial = 1e3 * float(np.median(trial_times(objective, "tpe", 120)))
        rows, share = len(built.histogram.voxels) / count, built.histogram.nbytes / built.map_bytes
        what = f"{members} members, {count} soft cases"
        found += [
            Measurement(f"{what}: rows per case, of {SIZE * SIZE} pixels", rows, "rows"),
            Measurement(f"{what}: histogram, share of the maps", share, "x"),
            Measurement(f"{what}: reducing a case", 1e3 * built.reducing / count, "ms"),
            Measurement(f"{what}: scoring a weighting", median, "ms"),
            Measurement(f"{what}: one trial", trial, "ms", 20 if members == 3 else None),
        ]
    return found


def main() -> int:
    """Measure and write down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=CASES, help="cases of 384 x 384")
    cases = parser.parse_args().cases
    sure = build(cases, 3, soft=False)
    measurements = measure(sure, "sure maps", soft=False)
    soft = build(cases, 3, soft=True)
    measurements += measure(soft, "soft maps", soft=True)
    del soft
    measurements += growth(sure)
    measurements += by_members(max(cases // 10, 20))
    return record("blend", measurements)


if __name__ == "__main__":
    sys.exit(main())
