"""2D classification: networks of timm (https://github.com/huggingface/pytorch-image-models)."""

from __future__ import annotations

from typing import Any

import timm
import torch
from torch import nn

from heldout.errors import UserError
from heldout.tasks.nets.network import Network
from heldout.tasks.nets.weights import unknown_encoder, weights_file

LAST_LAYER_STD = 0.01


def build(
    encoder: str,
    in_channels: int,
    classes: int,
    *,
    image_size: tuple[int, ...] | None = None,
    dropout: float = 0.0,
    standardize: bool = True,
) -> Network:
    """Make a timm network with ``classes`` logits and random weights.

    Args:
        encoder: Name of a timm model.
        in_channels: Image channels C.
        classes: Number K of logits.
        image_size: Size (H, W) of the images, for encoders that take one size only.
        dropout: Before the last layer.
        standardize: Images hold 0 ... 1, not z-scores.

    Raises:
        UserError: timm has no such encoder, or the encoder takes one size only and ``image_size`` is None.
    """
    size = check_encoder(encoder, image_size)
    body = create(encoder, in_channels, classes, size, drop_rate=dropout)
    return Network(body, "label", standardize=standardize, input_size=size)


def load_pretrained(model: Network, encoder: str, in_channels: int, weights: str) -> None:
    """Copy every layer but the last from a file of weights, made for any number of channels and classes.

    The last layer starts near zero; see :func:`start_near_zero`.

    Args:
        model: What :func:`build` made.
        encoder: Name of the timm model.
        in_channels: Image channels C.
        weights: The file, as the field ``encoder_weights`` names it.

    Raises:
        UserError: the file does not exist or does not belong to the encoder.
    """
    copy_pretrained(model.body, weights, (encoder, in_channels, 0, model.input_size))
    start_near_zero(model.body.get_classifier())


def check_encoder(encoder: str, image_size: tuple[int, ...] | None) -> tuple[int, ...] | None:
    """The size (H, W) that an encoder must be made for; None where it takes every size.

    Raises:
        UserError: timm has no such encoder, or the encoder takes one size only and the experiment sets none.
    """
    if not timm.is_model(encoder):
        raise unknown_encoder(encoder, timm.list_models())
    fixed = timm.get_pretrained_cfg(encoder, allow_unregistered=True)
    if fixed is None or not fixed.fixed_input_size:
        return None
    if image_size is None:
        raise UserError(f"encoder = {encoder!r} takes images of one size only: set image_size")
    return image_size


def copy_pretrained(body: nn.Module, weights: str, shape: tuple[str, int, int, tuple[int, ...] | None]) -> None:
    """Fill a network of timm, but for its last layer, from a file.

    Args:
        body: The network.
        weights: As the field ``encoder_weights`` names the file.
        shape: What :func:`create` made it of, with 0 classes.

    Raises:
        UserError: the file does not exist or does not belong to the encoder.
    """
    path = weights_file(weights)
    start = torch.random.get_rng_state()
    random = create(*shape).state_dict()
    torch.random.set_rng_state(start)
    reason = ""
    try:
        overlay = {"file": str(path)}
        filled = create(*shape, pretrained=True, pretrained_cfg_overlay=overlay).state_dict()
        # timm renames and adapts keys as it loads, and passes over those that a file lacks: these stay as drawn
        kept = [key for key, value in filled.items() if value.ndim > 1 and torch.equal(value, random[key])]
        reason = f"{kept[0]} is not in it" if kept else ""
    except (RuntimeError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0]
    if reason:
        raise UserError(f"{path} does not hold weights of {shape[0]} ({reason}): name another file")
    body.load_state_dict(filled, strict=False)


def start_near_zero(layer: nn.Module) -> None:
    """Draw the weights of a fresh last layer from a normal distribution of a small width, and set its bias to zero.

    timm starts the last layer of some networks with weights up to ``1 / sqrt(classes)``: the first gradients are then
    so large that they destroy the pretrained features below.

    Args:
        layer: A linear layer or a convolution.
    """
    nn.init.normal_(layer.weight, std=LAST_LAYER_STD)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def create(encoder: str, channels: int, classes: int, size: tuple[int, ...] | None, **options: Any) -> Any:
    """A bare network of timm, made for images of one ``size`` where there is one; without classes it gives features."""
    if size is not None:
        options["img_size"] = size
    return timm.create_model(encoder, num_classes=classes, in_chans=channels, **options)
