"""A simulation of 1,000 fits on 200 nodes that fail, with the training times of the runs of record."""

from __future__ import annotations

import heapq
import json
import random
from dataclasses import dataclass, field

from record import REPOSITORY, Measurement

from fanout.chart import draw
from heldout.launch.order import longest_first

NODES, FITS = 200, 1000
REPLACED_HOURS, START_HOURS = 10 / 60, 40 / 3600  # until another node is there; until a fit trains on it
EPOCHS = 15
BAR = 1.1


@dataclass
class Simulation:
    """Fits on nodes that fail: a failed fit goes on after its last epoch, on whichever node is free.

    Attributes:
        hours: Of every fit.
        needs: Fits that must be finished before a fit.
        nodes: How many.
        failure_hours: Mean time between failures of a node.
        seed: Of the failures.
    """

    hours: dict[int, float]
    needs: dict[int, list[int]]
    nodes: int
    failure_hours: float
    seed: int
    ends: list[float] = field(default_factory=list)
    failures: int = 0

    def run(self) -> float:
        """Hours until the last fit has ended."""
        random_numbers = random.Random(self.seed)
        left, done, running = dict(self.hours), set(), set()
        events: list[tuple[float, int, int, float]] = []  # when, node, fit or -1 for a node that is back, trained
        free = list(range(self.nodes))
        now = 0.0
        while len(done) < len(self.hours):
            for fit in longest_first({one: left[one] for one in left if one not in done}, self.needs):
                if not free:
                    break
                if fit in running or any(need not in done for need in self.needs.get(fit, ())):
                    continue
                node, failure = free.pop(), random_numbers.expovariate(1 / self.failure_hours)
                length = START_HOURS + left[fit]
                running.add(fit)
                if failure < length:
                    epoch = self.hours[fit] / EPOCHS
                    trained = max(0.0, failure - START_HOURS)
                    heapq.heappush(events, (now + failure, node, fit, trained - trained % epoch))
                else:
                    heapq.heappush(events, (now + length, node, fit, left[fit]))
            now, node, fit, trained = heapq.heappop(events)
            if fit < 0:
                free.append(node)
                continue
            running.remove(fit)
            left[fit] -= trained
            if left[fit] <= 1e-9:
                done.add(fit)
                self.ends.append(now)
                free.append(node)
            else:
                self.failures += 1
                heapq.heappush(events, (now + REPLACED_HOURS, node, -1, 0.0))
        return now

    def bound(self) -> float:
        """Hours that no schedule can go below, without any failure: all work shared evenly, or the longest chain."""

        def chain(fit: int) -> float:
            return self.hours[fit] + max(map(chain, self.needs.get(fit, [])), default=0.0)

        return max(sum(self.hours.values()) / self.nodes, max(map(chain, self.hours)))


def measured_hours() -> list[float]:
    """Training hours of the runs of record of this repository, each for one of five folds."""
    paths = sorted((REPOSITORY / "exps" / "results").glob("*.json"))
    hours = [json.loads(path.read_text(encoding="utf-8")).get("hours") for path in paths]
    return [hour / 5 for hour in hours if hour]


def simulate() -> list[Measurement]:
    """Three mixes of fits, the worst of five draws of failures each; draws the finished fits over time."""
    measured, chance = measured_hours(), random.Random(0)
    mixes: dict[str, tuple[list[float], float]] = {
        "runs of record": ([chance.choice(measured) * chance.uniform(0.9, 1.1) for _ in range(FITS)], 12.0),
        "an hour each": ([chance.uniform(0.9, 1.1) for _ in range(FITS)], 12.0),
        "half an hour to four hours": ([chance.uniform(0.5, 4.0) for _ in range(FITS)], 24.0),
    }
    found, curves = [], {}
    for name, (lengths, failure_hours) in mixes.items():
        hours = dict(enumerate(lengths))
        needs = {fit: [fit - 1] for fit in range(1, FITS, 10)}  # a warm start for every tenth
        runs = [Simulation(hours, needs, NODES, failure_hours, seed) for seed in range(5)]
        spans = [one.run() for one in runs]
        worst = max(range(5), key=spans.__getitem__)
        curves[name] = (runs[worst].ends, runs[worst].bound())
        what = f"{FITS:,} fits on {NODES} nodes, {name}: makespan against the lower bound"
        found.append(Measurement(f"{what}, worst of 5", spans[worst] / runs[worst].bound(), "times", BAR))
        found.append(
            Measurement(f"same: failures of nodes, mean of {failure_hours:g} h", runs[worst].failures, "nodes")
        )
    draw(
        "scale_simulation",
        "hours / lower bound",
        "finished fits",
        {name: ([end / bound for end in ends], list(range(1, FITS + 1))) for name, (ends, bound) in curves.items()},
    )
    return found
