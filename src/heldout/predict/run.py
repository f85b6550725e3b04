"""Networks over cases: batches, and the way back to each case's own grid.

The same cases in the same order give the same bits on the same machine. A case's result depends on its neighbors in
the batch by no more than rounding of float32.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from heldout.data.geometry import Geometry, restore
from heldout.data.normalize import to_float
from heldout.data.parallel import ahead
from heldout.data.patches import center, cut_patch
from heldout.errors import Diverged
from heldout.predict.allocator import keep_freed_memory
from heldout.predict.features import Pooler
from heldout.predict.forward import (
    NetworkOutput,
    answer_batch,
    flip_sets,
    limit_of_skipping,
    memory_format,
    window_of,
)
from heldout.predict.prediction import Prediction, presence
from heldout.tasks import Task

Case = tuple[str, np.ndarray, Geometry | None]


def predict_cases(
    config: Task,
    models: Sequence[nn.Module],
    cases: Iterable[Case],
    *,
    exclusive: bool,
    device: torch.device | str | None = None,
    tta: str | None = None,
    pooler: Pooler | None = None,
) -> Iterator[list[Prediction]]:
    """Predict cases with several networks of one experiment.

    A case smaller than the training patch is surrounded by zeros up to its size, as in training: networks that
    normalize by instance see shifted intensities otherwise. Consecutive cases of equal shape then share a batch of at
    most ``predict_batch_size``. A case that exceeds the training patch by more than a quarter along an axis is covered
    by sliding windows with Gaussian weights; everything else is predicted whole. Only the current batches and the next
    are held in memory. Of a second head's probabilities the highest of all windows counts, and the mean over flips;
    where they may spare the mask (``skip_mask_below``), every case is a batch of its own.

    Args:
        config: The experiment of all the networks.
        models: The networks; they are put into evaluation mode, and moved where ``device`` is given.
        cases: Case id, prepared array (C, *S) and geometry of each case; classification needs no geometry.
        exclusive: The classes exclude each other.
        device: Where to compute; None is where the first network is.
        tta: Axes to flip: the mean over all combinations counts. None is the experiment's own ``tta``.
        pooler: Picks up features of the cases from one of the networks.

    Yields:
        One prediction per network, for each case in turn.

    Raises:
        UserError: an axis of ``tta`` does not exist, or a network's output is not finite.
    """
    keep_freed_memory()
    flips = flip_sets(config, config.tta if tta is None else tta)
    for model in models:
        model.eval()
        if device is not None:
            model.to(device)
        if config.channels_last and not _is_laid_out(model, config):
            model.to(memory_format=memory_format(config))
    with ThreadPoolExecutor(max_workers=1) as pool:
        waiting: deque[Future[list[Prediction]]] = deque()
        for batch in ahead(_batches(config, models, cases)):
            images = np.stack([to_float(case.image) for case in batch])
            if pooler is not None:
                pooler.begin()
            answers = [answer_batch(config, model, images, exclusive, flips) for model in models]
            if pooler is not None:
                pooler.end(len(batch))
            ready = len(waiting)
            for position, case in enumerate(batch):
                waiting.append(pool.submit(_finish, case, answers, position, config.value_range))
            # while this batch is brought back to its grids and the next but one is read, the next one is computed
            for _ in range(ready):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _is_laid_out(model: nn.Module, config: Task) -> bool:
    """Whether a network lies in memory as ``channels_last`` asks; quicker to find out than to lay it out again."""
    kernels = (value for value in model.parameters() if value.ndim == config.dimensions + 2)
    return all(value.is_contiguous(memory_format=memory_format(config)) for value in kernels)


@dataclass(frozen=True, eq=False)
class Padded:
    """A case whose image (C, *S) is at least as large as the patch, and where in it the case itself lies."""

    case_id: str
    image: np.ndarray
    inside: tuple[slice, ...]
    geometry: Geometry | None


def padded(config: Task, case: Case) -> Padded:
    """Surround a case by zeros up to the training patch."""
    case_id, array, geometry = case
    size = array.shape[1:]
    wanted = size if config.patch_size is None else tuple(map(max, size, config.patch_size))
    start = center(size, wanted)
    inside = tuple(slice(-first, -first + length) for first, length in zip(start, size, strict=True))
    return Padded(case_id, cut_patch(array, start, wanted), inside, geometry)


def _batches(config: Task, models: Sequence[nn.Module], cases: Iterable[Case]) -> Iterator[list[Padded]]:
    largest = config.predict_batch_size if limit_of_skipping(config) is None else 1
    batch: list[Padded] = []
    for case in (padded(config, case) for case in cases):
        shape = case.image.shape
        full = len(batch) == largest or (batch and window_of(config, shape[1:], *models) is not None)
        if batch and (full or batch[0].image.shape != shape):
            yield batch
            batch = []
        batch.append(case)
    if batch:
        yield batch


def _finish(case: Padded, answers: list[NetworkOutput], position: int, limits: tuple[float, float]) -> list[Prediction]:
    return [
        _to_prediction(
            case, answer.values[position], None if answer.scores is None else answer.scores[position], limits
        )
        for answer in answers
    ]


def _to_prediction(
    case: Padded, probability: np.ndarray, head: np.ndarray | None, limits: tuple[float, float]
) -> Prediction:
    if not np.isfinite(probability).all() or (head is not None and not np.isfinite(head).all()):
        raise Diverged(
            f"the prediction of case {case.case_id} is not finite, so the network is broken: lower lr and train again"
        )
    if probability.ndim == 1:
        return Prediction(case.case_id, np.clip(probability, *limits).astype(np.float32))
    if case.geometry is None:
        raise ValueError(f"case {case.case_id} needs its geometry to be brought back to its own grid")
    restored = restore(probability[:, *case.inside], case.geometry)
    np.clip(restored, 0, 1, out=restored)
    restored *= 255
    values = np.rint(restored, out=restored).astype(np.uint8)
    scores = presence(values) if head is None else np.clip(head, 0, 1).astype(np.float32)
    return Prediction(case.case_id, scores, values)
