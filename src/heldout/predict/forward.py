"""A network over a batch: flips, sliding windows, and a second head that classifies cases and may skip the decoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain, combinations, product
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from heldout.data.sides import mirror_order
from heldout.errors import UserError
from heldout.predict.precision import FLOAT32, number_format, resolve
from heldout.predict.windows import fits, slide
from heldout.tasks import MultiTask2D, Task

# A case that exceeds the patch by no more than this is predicted whole all the same: windows that overlap nearly
# everywhere would cost several times as much and tell a convolutional network nothing new.
WHOLE = 1.25
IMAGE_COPIES = 4  # of an image that flips and scales need beside the maps
EXCHANGE = 1  # among axes to flip: rows and columns of an image change places


@dataclass(frozen=True, eq=False)
class NetworkOutput:
    """What a network says about a batch.

    Attributes:
        values: Probabilities (B, K) of a classification, or (B, K, *S) of a segmentation, float32.
        scores: Probabilities (B, K) of a segmentation's second head, float32; None without one.
    """

    values: np.ndarray
    scores: np.ndarray | None


@runtime_checkable
class _AskedByHead(Protocol):
    """A network of two heads that can be asked one by one; see :class:`heldout.tasks.nets.multitask2d.TwoHeads`."""

    def encode(self, image: Tensor) -> list[Tensor]: ...

    def classify(self, features: list[Tensor]) -> Tensor: ...

    def decode(self, features: list[Tensor], image: Tensor) -> Tensor: ...


def flip_sets(config: Task, tta: str) -> list[tuple[int, ...]]:
    """Axes of a batch (B, C, *S) to flip together, for each combination of the letters; ``r`` is :data:`EXCHANGE`.

    Raises:
        UserError: a letter names no axis, or is repeated.
    """
    if not set(tta) <= set(config.view_axes) or len(set(tta)) != len(tta):
        raise UserError(f"tta = {tta!r} may hold each of {config.view_axes!r} once")
    axes = [EXCHANGE if letter == "r" else 2 + config.view_axes.index(letter) for letter in tta]
    return list(chain.from_iterable(combinations(axes, count) for count in range(len(axes) + 1)))


def turn(image: Tensor, axes: Sequence[int]) -> Tensor:
    """Flip images (B, C, *S) along some axes, then exchange rows and columns where that is among them."""
    flipped = image.flip([axis for axis in axes if axis != EXCHANGE]) if axes else image
    return flipped.transpose(2, 3) if EXCHANGE in axes else flipped


def turn_back(values: Tensor, axes: Sequence[int]) -> Tensor:
    """Undo :func:`turn` of maps (B, K, *S)."""
    exchanged = values.transpose(2, 3) if EXCHANGE in axes else values
    return exchanged.flip([axis for axis in axes if axis != EXCHANGE]) if axes else exchanged


def window_of(config: Task, size: Sequence[int], *models: nn.Module) -> tuple[int, ...] | None:
    """The sliding window for a case, or None where the case is predicted whole by these networks."""
    one_size = any(getattr(model, "input_size", None) is not None for model in models)
    most = 1.0 if one_size else WHOLE
    if config.patch_size is None or all(n <= most * patch for n, patch in zip(size, config.patch_size, strict=True)):
        return None
    return config.patch_size


def memory_format(config: Task) -> torch.memory_format:
    """How images lie in memory where ``channels_last`` is set."""
    return torch.channels_last if config.dimensions == 2 else torch.channels_last_3d


def limit_of_skipping(config: Task) -> float | None:
    """Probability below which the mask is empty and not computed; None where every mask is computed."""
    return config.skip_mask_below if isinstance(config, MultiTask2D) else None


@torch.inference_mode()
def answer_batch(
    config: Task, model: nn.Module, images: np.ndarray, exclusive: bool, flips: list[tuple[int, ...]]
) -> NetworkOutput:
    """Mean probabilities over all flips, computed as ``predict_precision`` says.

    Args:
        config: The experiment.
        model: One of its networks, in evaluation mode.
        images: (B, C, *S) float32; one case alone where decoders may be spared.
        exclusive: Classes exclude each other.
        flips: From :func:`flip_sets`.
    """
    device = next(model.parameters()).device
    precision = resolve(config.predict_precision, device)
    image = torch.from_numpy(images)
    if window_of(config, image.shape[2:], model) is None or fits(
        IMAGE_COPIES * image.shape[1], image.shape[2:], device
    ):
        image = image.to(device)

    def answer(precision: str) -> NetworkOutput:
        with number_format(precision, device):
            if isinstance(config, MultiTask2D) and (limit := limit_of_skipping(config)) is not None:
                return _unless_sure(config, image, exclusive, flips, model, limit)
            return _mean(config, image, exclusive, flips, model)

    found = answer(precision)
    parts = [part for part in (found.values, found.scores) if part is not None]
    if precision == "16-mixed" and not all(np.isfinite(part).all() for part in parts):  # float16 ends at 65504
        return answer(FLOAT32)
    return found


def _mean(
    config: Task, image: Tensor, exclusive: bool, flips: list[tuple[int, ...]], model: nn.Module
) -> NetworkOutput:
    values: Tensor | None = None
    scores: Tensor | None = None
    size = image.shape[2:]
    if config.tta_scales != (1.0,) and getattr(model, "input_size", None) is not None:
        raise UserError("tta_scales needs a network that takes images of any size: set it to (1.0,)")
    for factor, axes in product(config.tta_scales, flips):
        turned = _laid_out(config, turn(_resized(image, [round(factor * length) for length in size]), axes))
        value, score = _tiled(
            config, model, turned, lambda part: _both(config, config.as_outputs(model(part)), exclusive)
        )
        if value.ndim > 2:
            value = _resized(turn_back(value, axes), size)
        if 2 in axes and (order := mirror_order(config, value.shape[1])) is not None:
            # what the network found on the left of the mirror image lies on the right
            value, score = value[:, order], None if score is None else score[:, order]
        if values is not None and values.device != value.device:  # the first views left no room for this one
            values, value = values.cpu(), value.cpu()
        values = value if values is None else values + value
        if score is not None:
            scores = score if scores is None else scores + score
    assert values is not None, "there is one combination of flips at least: none of them"
    views = len(flips) * len(config.tta_scales)
    return _answer(values / views, None if scores is None else scores / views)


def _resized(image: Tensor, size: Sequence[int]) -> Tensor:
    """Images or maps of another spatial size; the same where it is theirs."""
    if tuple(image.shape[2:]) == tuple(size):
        return image
    mode = "bilinear" if len(size) == 2 else "trilinear"
    return interpolate(image, tuple(max(1, length) for length in size), mode=mode)


def _unless_sure(
    config: MultiTask2D, image: Tensor, exclusive: bool, flips: list[tuple[int, ...]], model: nn.Module, limit: float
) -> NetworkOutput:
    """The head's mean over all flips first; only if it finds a class likely enough, the mask.

    A case is alone here and its flips go through the network together, so that the decision does not depend on the
    company that a case happens to have.
    """
    if len(image) != 1:
        raise ValueError(f"{len(image)} cases in a batch where decoders may be spared: give them one by one")
    if not isinstance(model, _AskedByHead):
        raise UserError("skip_mask_below needs build_model to give a TwoHeads: set it to None")
    turned = _laid_out(config, torch.cat([image.flip(axes) if axes else image for axes in flips]))
    window = window_of(config, image.shape[2:], model)
    if window is None:
        features = model.encode(turned)
        score = config.classify_head({"label": model.classify(features)}).mean(dim=0, keepdim=True)
        if _is_sure(score, limit):
            return _empty(score, image)
        activated = config.activate({"mask": model.decode(features, turned)}, exclusive)
        flipped_back = [
            value.flip(axes) if axes else value for value, axes in zip(activated.split(1), flips, strict=True)
        ]
        return _answer(torch.stack(flipped_back).mean(dim=0), score)

    def classify(part: Tensor) -> tuple[Tensor, Tensor]:
        # windows are put together by their maps: one of nothing costs nothing
        return part[:, :1], config.classify_head({"label": model.classify(model.encode(part))})

    answers = (_tiled(config, model, one[None], classify)[1] for one in turned)
    score = torch.cat([answer for answer in answers if answer is not None]).mean(dim=0, keepdim=True)
    return _empty(score, image) if _is_sure(score, limit) else _mean(config, image, exclusive, flips, model)


def _is_sure(score: Tensor, limit: float) -> bool:
    return bool((score < limit).all())


def _empty(score: Tensor, image: Tensor) -> NetworkOutput:
    return _answer(image.new_zeros(1, score.shape[1], *image.shape[2:]), score)


def _answer(values: Tensor, scores: Tensor | None) -> NetworkOutput:
    return NetworkOutput(values.cpu().numpy(), None if scores is None else scores.cpu().numpy())


def _laid_out(config: Task, image: Tensor) -> Tensor:
    return image.contiguous(memory_format=memory_format(config)) if config.channels_last else image


def _both(config: Task, outputs: dict[str, Tensor], exclusive: bool) -> tuple[Tensor, Tensor | None]:
    scores = config.classify_head(outputs)
    return config.activate(outputs, exclusive).float(), None if scores is None else scores.float()


def _tiled(
    config: Task, model: nn.Module, image: Tensor, forward: Callable[[Tensor], tuple[Tensor, Tensor | None]]
) -> tuple[Tensor, Tensor | None]:
    """Values of an image, and a second head's scores: of windows the highest, as one that shows a class suffices."""
    window = window_of(config, image.shape[2:], model)
    if window is None:
        return forward(image)
    heads: list[Tensor] = []

    def values_of(part: Tensor) -> Tensor:
        values, scores = forward(part)
        if scores is not None:
            heads.append(scores)
        return values

    device = next(model.parameters()).device
    values = slide(image, window, config.predict_batch_size, values_of, overlap=config.overlap, device=device)
    return values, torch.cat(heads).amax(dim=0, keepdim=True) if heads else None
