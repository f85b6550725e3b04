"""What a decision's members cost: measured seconds per case, of preparing it and of one network's look at one view."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from heldout.blend.apply import predict_case
from heldout.blend.members import Member, load_member
from heldout.data.first_stage import first_stage_map
from heldout.data.image import file_state
from heldout.predict.models import load_model

if TYPE_CHECKING:
    from torch import nn

    from heldout.data.image import Image

SIZES = (0.25, 0.5, 0.75, 1.0)  # quantiles of the cases that are measured: of typical size, and the largest
REPEATS = 2  # the faster counts: other programs disturb it less


@dataclass(frozen=True)
class Cost:
    """Seconds per case of a member's experiment.

    Attributes:
        once: Of preparing the image and bringing the answer back, whatever the networks and views; of a first stage
            too, where the member has one.
        view: Of one network and one view.
        load: Of loading a network, once for all cases.
        start: Of loading the networks of a first stage, once for all cases.
    """

    once: float
    view: float
    load: float
    start: float = 0.0

    def seconds(self, member: Member) -> float:
        """Seconds per case of a member: every network sees every combination of its flips."""
        views = 2 ** len(member.tta) * len(member.config.tta_scales)
        return self.once + len(member.fits) * views * self.view

    def loading(self, member: Member) -> float:
        """Seconds until a member's networks are loaded."""
        return self.start + len(member.fits) * self.load


def some_cases(member: Member) -> list[str]:
    """Cases of typical size and the largest, by the bytes of their images."""
    source, train = member.dataset.source, member.cases.to_dict("records")
    sizes = {row["case_id"]: sum(file_state(path)[0] for path in source.files(row["image"])) for row in train}
    ordered = sorted(sizes, key=lambda case_id: (sizes[case_id], case_id))
    return [ordered[round(share * (len(ordered) - 1))] for share in SIZES]


def measure(member: Member, case_ids: Sequence[str]) -> tuple[Cost, float]:
    """Time a member's first network on a few cases, on this machine.

    Args:
        member: The member.
        case_ids: Cases to predict.

    Returns:
        Its cost, and the seconds that reading a case's files takes; means over the cases.
    """
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    path = member.fits[0].folder / "weights.safetensors"
    begun = time.perf_counter()
    model = load_model(member.config, path, member.dataset.classes, member.dataset.exclusive).to(device)
    load = time.perf_counter() - begun
    begun = time.perf_counter()
    images = [(case_id, member.dataset.read_image(case_id)) for case_id in case_ids]
    reading = (time.perf_counter() - begun) / len(images)
    one, three = (_timed(member, model, images, count) for count in (1, 3))
    view = max(three - one, 0.0) / 2
    once, start = max(one - view, 0.0), 0.0
    if member.first_stage is not None:  # its networks see the case first, whatever becomes of the member's own
        first = load_member(member.first_stage.spec, member.session)
        cost = measure(first, case_ids)[0]
        once, start = once + cost.seconds(first), cost.loading(first)
    return Cost(once, view, load, start), reading


def _timed(member: Member, model: nn.Module, images: Sequence[tuple[str, Image]], networks: int) -> float:
    """Mean seconds per case with so many networks and no flips, each case's the fastest of its repeats."""

    def seconds(case_id: str, image: Image) -> float:
        first_map = first_stage_map(member.first_stage, case_id)
        begun = time.perf_counter()
        predict_case(
            member.config,
            [model] * networks,
            case_id,
            image,
            exclusive=member.dataset.exclusive,
            tta="",
            first_map=first_map,
        )
        return time.perf_counter() - begun

    seconds(*images[0])  # warms up
    return sum(min(seconds(*one) for _ in range(REPEATS)) for one in images) / len(images)


@dataclass(frozen=True)
class Clock:
    """Seconds that sets of members take.

    Attributes:
        costs: Cost of each experiment, by its spec.
        reading: Seconds per case that reading its files takes.
    """

    costs: dict[str, Cost]
    reading: float = 0.0

    @classmethod
    def measured(cls, members: Sequence[Member]) -> Clock:
        """Measure every member's experiment on the same few cases, on this machine."""
        cases = some_cases(members[0])
        found = {spec: measure(member, cases) for spec, member in {one.spec: one for one in members}.items()}
        return cls({spec: cost for spec, (cost, _) in found.items()}, max(reading for _, reading in found.values()))

    def per_case(self, members: Sequence[Member]) -> float:
        """Seconds per case."""
        return self.reading + sum(self.costs[member.spec].seconds(member) for member in members)

    def total(self, members: Sequence[Member], cases: int) -> float:
        """Seconds for so many cases, networks loaded."""
        loading = sum(self.costs[member.spec].loading(member) for member in members)
        return loading + cases * self.per_case(members)
