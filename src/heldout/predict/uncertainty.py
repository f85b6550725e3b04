"""Several answers of one network to one case: with dropout left on, and flipped; what they say of its uncertainty.

Monte-Carlo dropout: Gal and Ghahramani 2016 (https://arxiv.org/abs/1506.02142). Flips at test time: Wang et al. 2019
(https://arxiv.org/abs/1807.07356).
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import nn

from heldout.data.normalize import to_float
from heldout.errors import UserError
from heldout.predict.forward import answer_batch, flip_sets
from heldout.predict.run import Case, padded
from heldout.tasks import Task

_DROPOUT = (nn.modules.dropout._DropoutNd, nn.AlphaDropout, nn.FeatureAlphaDropout)


@contextlib.contextmanager
def dropout_on(config: Task, model: nn.Module) -> Iterator[None]:
    """Let dropout act and nothing else of training: normalization layers keep what they learned.

    timm's networks drop by a function that looks at the flag of the module that calls it, which has ``drop_rate``.

    Raises:
        UserError: the network has no dropout.
    """
    model.eval()
    active = [
        module for module in model.modules() if (isinstance(module, _DROPOUT) and module.p > 0) or _rate(module) > 0
    ]
    if not active:
        raise UserError(f"{config.spec} has no dropout to leave on: set dropout, or ask its flips or seeds instead")
    for module in active:
        module.training = True  # of this module alone: train() would reach its children
    try:
        yield
    finally:
        model.eval()


def _rate(module: nn.Module) -> float:
    rate = getattr(module, "drop_rate", 0)
    return float(rate) if isinstance(rate, int | float) else 0.0


def has_dropout(config: Task, model: nn.Module) -> bool:
    """Whether :func:`dropout_on` finds something to leave on."""
    try:
        with dropout_on(config, model):
            return True
    except UserError:
        return False


def dropout_answers(config: Task, model: nn.Module, case: Case, exclusive: bool, passes: int = 20) -> np.ndarray:
    """Probabilities (passes, K) or (passes, K, *prepared) float32 of a case, dropout drawn anew for each.

    The draws depend on the case's id alone, so that neither order nor company of the cases matters.

    Raises:
        UserError: the network has no dropout.
    """
    image, inside = _image(config, case)
    seed = int.from_bytes(hashlib.blake2b(f"dropout/{case[0]}".encode(), digest_size=7).digest(), "little")
    devices = [] if next(model.parameters()).device.type != "cuda" else [next(model.parameters()).device]
    found = []
    with torch.random.fork_rng(devices=devices), dropout_on(config, model):
        torch.manual_seed(seed)
        for first in range(0, passes, config.predict_batch_size):
            copies = np.repeat(image, min(config.predict_batch_size, passes - first), axis=0)
            found.append(answer_batch(_with_masks(config), model, copies, exclusive, [()]).values)
    return _cut(np.concatenate(found), inside)


def flip_answers(config: Task, model: nn.Module, case: Case, exclusive: bool, tta: str) -> np.ndarray:
    """Probabilities (flips, K) or (flips, K, *prepared) float32 of a case, one for every combination of flips."""
    model.eval()
    image, inside = _image(config, case)
    flips = flip_sets(config, tta)
    found = [answer_batch(_with_masks(config), model, image, exclusive, [axes]).values for axes in flips]
    return _cut(np.concatenate(found), inside)


def ensemble_answers(config: Task, models: Sequence[nn.Module], case: Case, exclusive: bool) -> np.ndarray:
    """Probabilities (networks, K) or (networks, K, *prepared) float32 of a case, one for every network.

    Lakshminarayanan et al. 2017 (https://arxiv.org/abs/1612.01474).
    """
    return np.concatenate([flip_answers(config, model, case, exclusive, "") for model in models])


def _image(config: Task, case: Case) -> tuple[np.ndarray, tuple[slice, ...]]:
    whole = padded(config, case)
    return to_float(whole.image)[None], whole.inside


def _cut(values: np.ndarray, inside: tuple[slice, ...]) -> np.ndarray:
    return values if values.ndim == 2 else values[:, :, *inside]


def _with_masks(config: Task) -> Task:
    """The experiment without the short cut past the decoder, which would make an uncertain map a certain one."""
    return config.model_copy(update={"skip_mask_below": None}) if config.two_heads else config
