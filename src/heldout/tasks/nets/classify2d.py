"""2D classification: networks of timm (https://github.com/huggingface/pytorch-image-models)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import timm
import torch

from heldout.errors import UserError
from heldout.tasks.nets.network import Network
from heldout.tasks.nets.weights import unknown_encoder, weights_file

if TYPE_CHECKING:
    from heldout.tasks.classify import Classify2D


def build(config: Classify2D, classes: int) -> Network:
    """Make a timm network with ``classes`` logits and random weights.

    Raises:
        UserError: timm has no such encoder, or the encoder takes one size only and the experiment sets none.
    """
    if not timm.is_model(config.encoder):
        raise unknown_encoder(config.encoder, timm.list_models())
    fixed = timm.get_pretrained_cfg(config.encoder, allow_unregistered=True)
    size = config.image_size if fixed is not None and fixed.fixed_input_size else None
    if fixed is not None and fixed.fixed_input_size and size is None:
        raise UserError(f"encoder = {config.encoder!r} takes images of one size only: set image_size")
    return Network(
        _create(config, classes, size),
        "label",
        standardise=config.normalise != "zscore",
        input_size=size,
    )


def load_pretrained(config: Classify2D, model: Network) -> None:
    """Copy every layer but the last from the file ``encoder_weights``, made for any number of channels and classes.

    Raises:
        UserError: the file does not exist or does not belong to the encoder.
    """
    path = weights_file(config.encoder_weights or "")
    start = torch.random.get_rng_state()
    random = _create(config, 0, model.input_size).state_dict()
    torch.random.set_rng_state(start)
    reason = ""
    try:
        overlay = {"file": str(path)}
        filled = _create(config, 0, model.input_size, pretrained=True, pretrained_cfg_overlay=overlay).state_dict()
        # timm renames and adapts keys as it loads, and passes over those that a file lacks: these stay as drawn
        kept = [key for key, value in filled.items() if value.ndim > 1 and torch.equal(value, random[key])]
        reason = f"{kept[0]} is not in it" if kept else ""
    except (RuntimeError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0]
    if reason:
        raise UserError(f"{path} does not hold weights of {config.encoder} ({reason}): name another file")
    model.body.load_state_dict(filled, strict=False)


def _create(config: Classify2D, classes: int, size: tuple[int, ...] | None, **options: Any) -> Any:
    if size is not None:
        options["img_size"] = size
    return timm.create_model(
        config.encoder, num_classes=classes, in_chans=config.channels, drop_rate=config.dropout, **options
    )
