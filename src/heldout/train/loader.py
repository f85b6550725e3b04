"""Training samples in batches, the same whatever the number of loading processes."""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from types import TracebackType
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler
from torch.utils.data import Dataset as TorchDataset

from heldout.data.dataset import Dataset
from heldout.data.grids import check_patch
from heldout.data.patches import cut_patch
from heldout.data.prepare import Prepared, to_float
from heldout.errors import UserError
from heldout.tasks import Task
from heldout.train.first_batch import try_size
from heldout.train.sampling import derive_seed, draw_cases, draw_patch, epoch_length, seed_globals
from heldout.train.team import ALONE, Team


class SampleKey(NamedTuple):
    """Where in a run a sample is drawn.

    Attributes:
        epoch: Epoch, from 0.
        position: Position in the epoch.
        case: Index of the case.
        focus: Voxel of the prepared case around which a patch lies; None draws the patch.
    """

    epoch: int
    position: int
    case: int
    focus: tuple[int, ...] | None = None


class HardNegative(NamedTuple):
    """A training case that shows nothing, though the network thinks so.

    Attributes:
        case: Index of the case.
        focus: Its most probable voxel; None for classification.
    """

    case: int
    focus: tuple[int, ...] | None


class TrainingSamples(TorchDataset[dict[str, Tensor]]):
    """Samples of a fold's training cases, read from the disk when asked for and never kept.

    Args:
        config: The experiment.
        prepared: Prepared arrays.
        cases: Rows of the training cases.
        classes: Names of the classes.
        key: What is constant about the run, such as its seed and fold; with the place in an epoch it decides a sample.
    """

    def __init__(
        self, config: Task, prepared: Prepared, cases: pd.DataFrame, classes: tuple[str, ...], key: tuple[int, ...]
    ) -> None:
        self.config = config
        self.prepared = prepared
        # arrays, not lists: loading processes would copy page after page of the counted references of a list
        self.case_ids = np.array(cases["case_id"].to_list(), dtype=np.str_)
        self.labels = cases[[f"y_{name}" for name in classes]].to_numpy(np.float32, copy=True)
        self.key = key
        self.with_mask = config.kind == "segmentation"
        self.augment = config.build_augment() if config.dimensions == 2 else None

    def __len__(self) -> int:
        return len(self.case_ids)

    def __getitem__(self, place: SampleKey) -> dict[str, Tensor]:
        """Image (C, *S) float32, label (K,) float32 and, for segmentation, mask (M, *S) uint8."""
        seed, index = derive_seed(*self.key, place.epoch, place.position), place.case
        seed_globals(seed)
        torch.manual_seed(seed)
        image, mask = self._read(str(self.case_ids[index]), place.focus, np.random.default_rng(seed))
        if self.augment is not None:
            from heldout.tasks.augment.image import augment_sample

            image, mask = augment_sample(self.augment, image, mask, seed % 2**32, self.config.channels)
        sample = {"image": torch.from_numpy(to_float(image)), "label": torch.from_numpy(self.labels[index])}
        if mask is not None:
            sample["mask"] = torch.from_numpy(mask)
        return sample

    def _read(
        self, case_id: str, focus: tuple[int, ...] | None, generator: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray | None]:
        config, stored = self.config, self.prepared.image(case_id)
        patch, start = stored.shape[1:], (0,) * (stored.ndim - 1)
        if config.patch_size is not None:
            patch, foreground = config.patch_size, None
            if focus is not None:
                foreground = np.array([(0, *focus)])
            elif self.with_mask and generator.random() < config.foreground_fraction:
                foreground = self.prepared.foreground(case_id)
            start = draw_patch(stored.shape[1:], patch, foreground, generator)
        image = cut_patch(stored, start, patch)
        return image, cut_patch(self.prepared.mask(case_id), start, patch) if self.with_mask else None


class EpochSampler(Sampler[SampleKey]):
    """Places of one epoch's samples; each carries the epoch, so that long-lived processes need not be told of it.

    Args:
        positive: (cases,) bool, whether a case shows any class.
        count: Samples of an epoch.
        share: Expected share of samples from positive cases, or None.
        hard_share: Expected share of the negative samples that are hard negatives.
        key: Seed and fold.
        draw: Draws the cases of an epoch instead, from the number of samples and a generator, or gives None.
    """

    def __init__(
        self,
        positive: np.ndarray,
        count: int,
        share: float | None,
        hard_share: float,
        key: tuple[int, ...],
        draw: Callable[[int, np.random.Generator], np.ndarray | None] = lambda *_: None,
    ) -> None:
        self.positive = positive
        self.count = count
        self.share = share
        self.hard_share = hard_share
        self.key = key
        self.draw = draw
        self.epoch = 0
        self.hard: Sequence[HardNegative] = ()

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[SampleKey]:
        place = derive_seed(*self.key, self.epoch, "cases")
        own = self.draw(self.count, np.random.default_rng(place))
        if own is not None:
            return iter([self._place(position, index) for position, index in enumerate(self._checked(own))])
        generator = np.random.default_rng(place)
        drawn = draw_cases(self.positive, self.count, self.share, generator, len(self.hard), self.hard_share)
        return iter([self._place(position, int(index)) for position, index in enumerate(drawn)])

    def _checked(self, own: np.ndarray) -> list[int]:
        indices, cases = np.asarray(own), len(self.positive)
        if (
            indices.shape != (self.count,)
            or not np.issubdtype(indices.dtype, np.integer)
            or not ((indices >= 0) & (indices < cases)).all()
        ):
            raise UserError(
                f"draw_epoch gives {indices.dtype} of shape {indices.shape}: return {self.count} positions of the "
                f"{cases} training cases"
            )
        return indices.tolist()

    def _place(self, position: int, index: int) -> SampleKey:
        ordinary = len(self.positive)
        if index < ordinary:
            return SampleKey(self.epoch, position, index)
        return SampleKey(self.epoch, position, *self.hard[index - ordinary])


class Share(Sampler[SampleKey]):
    """One device's part of every batch.

    Args:
        whole: Draws an epoch, in full batches.
        batch_size: Samples of a batch.
        team: The processes that train together.
    """

    def __init__(self, whole: EpochSampler, batch_size: int, team: Team) -> None:
        self.whole, self.batch_size, self.team = whole, batch_size, team

    def __len__(self) -> int:
        return len(self.whole) // self.team.size

    def __iter__(self) -> Iterator[SampleKey]:
        each = self.batch_size // self.team.size
        return (place for place in self.whole if place.position % self.batch_size // each == self.team.rank)


class Batches:
    """Batches of a fold, epoch by epoch: a pure function of (seed, fold, epoch), whatever ``config.workers`` is.

    Args:
        config: The experiment.
        dataset: The checked dataset.
        prepared: Its prepared arrays.
        cases: Rows of the training cases.
        key: Seed and fold.
        pin_memory: Whether batches go to a GPU.
        share: The processes among which every batch is divided.

    Raises:
        UserError: no cases, or cases of different shapes with nothing that makes them equal.
    """

    def __init__(
        self,
        config: Task,
        dataset: Dataset,
        prepared: Prepared,
        cases: pd.DataFrame,
        key: tuple[int, ...],
        pin_memory: bool = False,
        share: Team = ALONE,
    ) -> None:
        _check_shapes(config, dataset, prepared, cases)
        samples = TrainingSamples(config, prepared, cases, dataset.classes, key)
        count = epoch_length(len(samples), config.batch_size, config.steps_per_epoch)
        self.case_ids = samples.case_ids
        self.labels = samples.labels
        self.sampler = EpochSampler(
            (samples.labels > 0).any(axis=1),
            count,
            config.positive_fraction,
            config.hard_negative_fraction,
            key,
            partial(config.draw_epoch, cases.reset_index(drop=True)),
        )
        self.loader = DataLoader(
            samples,
            batch_size=config.batch_size // share.size,
            sampler=Share(self.sampler, config.batch_size, share),
            num_workers=config.workers,
            persistent_workers=config.workers > 0,
            worker_init_fn=_start_loader,
            pin_memory=pin_memory,
            # the loader draws a base seed: not from the global generator, whose state must not depend on it
            generator=torch.Generator(),
        )

    def __len__(self) -> int:
        return len(self.loader)

    def epoch(self, number: int, hard: Sequence[HardNegative] = ()) -> Iterator[dict[str, Tensor]]:
        """Batches of one epoch: image (B, C, *S), label (B, K) and perhaps mask (B, M, *S).

        Args:
            number: The epoch, from 0.
            hard: Hard negatives to draw from.
        """
        self.sampler.epoch, self.sampler.hard = number, hard
        return iter(self.loader)

    def close(self) -> None:
        """End the loading processes."""
        del self.loader


def _start_loader(worker: int) -> None:  # noqa: ARG001 - torch passes the number of the process
    """Keep OpenCV from starting a thread per core in every loading process, and the process quiet at its end."""
    import cv2

    cv2.setNumThreads(0)
    sys.excepthook = _show_in_loader


def _show_in_loader(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Show an error, but for a connection that ended: the thread that hands over tensors meets the training's end."""
    if not issubclass(kind, ConnectionError | EOFError):
        sys.__excepthook__(kind, error, trace)


def _check_shapes(config: Task, dataset: Dataset, prepared: Prepared, cases: pd.DataFrame) -> None:
    if len(cases) == 0:
        raise UserError(f"{config.spec} has no training cases left: raise case_fraction or lower fold_count")
    check_patch(config, [prepared.geometry(case_id).prepared for case_id in cases["case_id"]])
    if config.patch_size is not None or config.image_size is not None or config.batch_size == 1:
        return
    shapes: dict[tuple[int, ...], str] = {}
    for case_id in cases["case_id"]:
        shapes.setdefault(prepared.geometry(case_id).prepared, case_id)
        if len(shapes) > 1:
            (one, first), (two, second) = shapes.items()
            remedy = "set patch_size or image_size"
            with contextlib.suppress(UserError):
                try_size(config.model_copy(update={"batch_size": 1}), dataset, min(one, two, key=math.prod))
                remedy += ", or batch_size = 1"
            raise UserError(f"cases {first} {one} and {second} {two} cannot share a batch: {remedy}")
