"""Networks over cases: batches, sliding windows, flips, and the way back to each case's own grid.

The same cases in the same order give the same bits on the same machine. A case's result depends on its neighbours in
the batch by no more than rounding of float32.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, combinations
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from heldout.data.geometry import Geometry, restore
from heldout.data.normalise import to_float
from heldout.data.patches import centre, cut_patch
from heldout.errors import UserError
from heldout.predict.prediction import Prediction, mean_predictions, presence
from heldout.tasks import Task

__all__ = ["Prediction", "mean_predictions", "predict_cases", "presence"]

# A case that exceeds the patch by no more than this is predicted whole all the same: windows that overlap nearly
# everywhere would cost several times as much and tell a convolutional network nothing new.
WHOLE = 1.25

Case = tuple[str, np.ndarray, Geometry | None]


def predict_cases(
    config: Task,
    models: Sequence[nn.Module],
    cases: Iterable[Case],
    *,
    exclusive: bool,
    device: torch.device | str | None = None,
    tta: str | None = None,
) -> Iterator[list[Prediction]]:
    """Predict cases with several networks of one experiment, in float32.

    A case smaller than the training patch is surrounded by zeros up to its size, as in training: networks that
    normalise by instance see shifted intensities otherwise. Consecutive cases of equal shape then share a batch of at
    most ``predict_batch_size``. A case that exceeds the training patch by more than a quarter along an axis is covered
    by sliding windows with Gaussian weights; everything else is predicted whole. Only the batches at work are held in
    memory.

    Args:
        config: The experiment of all the networks.
        models: The networks; they are put into evaluation mode, and moved where ``device`` is given.
        cases: Case id, prepared array (C, *S) and geometry of each case; classification needs no geometry.
        exclusive: The classes exclude each other.
        device: Where to compute; None is where the first network is.
        tta: Axes to flip: the mean over all combinations counts. None is the experiment's own ``tta``.

    Yields:
        One prediction per network, for each case in turn.

    Raises:
        UserError: an axis of ``tta`` does not exist, or a network's output is not finite.
    """
    flips = _flip_sets(config, config.tta if tta is None else tta)
    for model in models:
        model.eval()
        if device is not None:
            model.to(device)
        if config.channels_last:
            model.to(memory_format=_memory_format(config))
    with ThreadPoolExecutor(max_workers=1) as pool:
        waiting: deque[Future[list[Prediction]]] = deque()
        for batch in _batches(config, cases):
            images = np.stack([to_float(case.image) for case in batch])
            probabilities = [_probabilities(config, model, images, exclusive, flips) for model in models]
            ready = len(waiting)
            for position, case in enumerate(batch):
                answers = [values[position] for values in probabilities]
                waiting.append(pool.submit(_finish, case, answers))
            # while this batch is brought back to its grids, the next one is computed
            for _ in range(ready):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


@dataclass(frozen=True, eq=False)
class _Padded:
    """A case whose image (C, *S) is at least as large as the patch, and where in it the case itself lies."""

    case_id: str
    image: np.ndarray
    inside: tuple[slice, ...]
    geometry: Geometry | None


def _padded(config: Task, case: Case) -> _Padded:
    case_id, array, geometry = case
    size = array.shape[1:]
    padded = size if config.patch_size is None else tuple(map(max, size, config.patch_size))
    start = centre(size, padded)
    inside = tuple(slice(-first, -first + length) for first, length in zip(start, size, strict=True))
    return _Padded(case_id, cut_patch(array, start, padded), inside, geometry)


def _batches(config: Task, cases: Iterable[Case]) -> Iterator[list[_Padded]]:
    batch: list[_Padded] = []
    for case in (_padded(config, case) for case in cases):
        shape = case.image.shape
        full = len(batch) == config.predict_batch_size or (batch and _window(config, shape[1:]) is not None)
        if batch and (full or batch[0].image.shape != shape):
            yield batch
            batch = []
        batch.append(case)
    if batch:
        yield batch


def _window(config: Task, size: Sequence[int]) -> tuple[int, ...] | None:
    """The sliding window for a case, or None where the case is predicted whole."""
    if config.patch_size is None or all(n <= WHOLE * patch for n, patch in zip(size, config.patch_size, strict=True)):
        return None
    return config.patch_size


def _flip_sets(config: Task, tta: str) -> list[tuple[int, ...]]:
    """Axes of a batch (B, C, *S) to flip together, for each combination of the letters."""
    if not set(tta) <= set(config.flip_axes) or len(set(tta)) != len(tta):
        raise UserError(f"tta = {tta!r} may hold each of {config.flip_axes!r} once")
    axes = [2 + config.flip_axes.index(letter) for letter in tta]
    return list(chain.from_iterable(combinations(axes, count) for count in range(len(axes) + 1)))


def _memory_format(config: Task) -> torch.memory_format:
    return torch.channels_last if config.dimensions == 2 else torch.channels_last_3d


@torch.inference_mode()
def _probabilities(
    config: Task, model: nn.Module, images: np.ndarray, exclusive: bool, flips: list[tuple[int, ...]]
) -> np.ndarray:
    """Mean probabilities over all flips, (B, K) or (B, K, *S) float32."""
    device = next(model.parameters()).device
    image = torch.from_numpy(images).to(device)
    if config.channels_last:
        image = image.contiguous(memory_format=_memory_format(config))

    def forward(part: Tensor) -> Tensor:
        return config.activate(model(part), exclusive)

    total: Tensor | None = None
    # TF32 would round what a GPU multiplies to ten bits
    exact = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
    with exact, torch.autocast(device.type, enabled=False):
        for axes in flips:
            turned = image.flip(axes) if axes else image
            answer = _tiled(config, turned, forward)
            if axes and answer.ndim > 2:
                answer = answer.flip(axes)
            total = answer if total is None else total + answer
    return (total / len(flips)).cpu().numpy()


def _tiled(config: Task, image: Tensor, forward: Any) -> Tensor:
    window = _window(config, image.shape[2:])
    if window is None:
        return forward(image)
    from monai.inferers import sliding_window_inference

    return sliding_window_inference(
        image, window, config.predict_batch_size, forward, overlap=config.overlap, mode="gaussian"
    )


def _finish(case: _Padded, answers: list[np.ndarray]) -> list[Prediction]:
    return [_to_prediction(case, answer) for answer in answers]


def _to_prediction(case: _Padded, probability: np.ndarray) -> Prediction:
    if not np.isfinite(probability).all():
        raise UserError(
            f"the prediction of case {case.case_id} is not finite, so the network is broken: lower lr and train again"
        )
    if probability.ndim == 1:
        return Prediction(case.case_id, np.clip(probability, 0, 1).astype(np.float32))
    if case.geometry is None:
        raise ValueError(f"case {case.case_id} needs its geometry to be brought back to its own grid")
    restored = np.clip(restore(probability[:, *case.inside], case.geometry), 0, 1)
    values = np.rint(restored * 255).astype(np.uint8)
    return Prediction(case.case_id, presence(values), values)
