"""2D classification: networks of timm (https://github.com/huggingface/pytorch-image-models)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from heldout.errors import UserError
from heldout.tasks.nets.libraries import timm
from heldout.tasks.nets.network import Network
from heldout.tasks.nets.probe import Probe
from heldout.tasks.nets.weights import copy_pretrained, unknown_encoder

LAST_LAYER_STD = 0.01


def build(
    encoder: str,
    in_channels: int,
    classes: int,
    *,
    image_size: tuple[int, ...] | None = None,
    dropout: float = 0.0,
    standardize: bool = True,
    probe: bool = False,
) -> Network:
    """Make a timm network with ``classes`` logits and random weights.

    Args:
        encoder: Name of a timm model.
        in_channels: Image channels C.
        classes: Number K of logits.
        image_size: Size (H, W) of the images, for encoders that take one size only.
        dropout: Before the last layer.
        standardize: Images hold 0 ... 1, not z-scores.
        probe: Whether the last layer alone is to be trained; see :class:`heldout.tasks.nets.probe.Probe`.

    Returns:
        A network from (B, C, H, W) to logits (B, K).

    Raises:
        UserError: timm has no such encoder, or the encoder takes one size only and ``image_size`` is None.

    Example:
        >>> import torch
        >>> build("resnet10t", 1, 3).eval()(torch.rand(2, 1, 64, 48)).shape
        torch.Size([2, 3])
    """
    size = check_encoder(encoder, image_size)
    if probe:
        body = create(encoder, in_channels, 0, size)
        body = Probe(body, features_of(body), classes, dropout)
    else:
        body = create(encoder, in_channels, classes, size, drop_rate=dropout)
    return Network(body, standardize=standardize, input_size=size)


def check_encoder(encoder: str, image_size: tuple[int, ...] | None) -> tuple[int, ...] | None:
    """The size (H, W) that an encoder must be made for; None where it takes every size.

    Raises:
        UserError: timm has no such encoder, or the encoder takes one size only and the experiment sets none.
    """
    if not timm.is_model(encoder):
        raise unknown_encoder(encoder, timm.list_models())
    try:
        fixed = timm.get_pretrained_cfg(encoder, allow_unregistered=True)
    except RuntimeError:  # the part after the dot
        raise unknown_encoder(encoder, timm.list_pretrained(f"{encoder.partition('.')[0]}.*")) from None
    if fixed is None or not fixed.fixed_input_size:
        return None
    if image_size is None:
        raise UserError(f"encoder = {encoder!r} takes images of one size only: set image_size")
    return image_size


def create(encoder: str, channels: int, classes: int, size: tuple[int, ...] | None, **options: Any) -> Any:
    """A bare network of timm, made for images of one ``size`` where there is one; without classes it gives features."""
    if size is not None:
        options["img_size"] = size
    return timm.create_model(encoder, num_classes=classes, in_chans=channels, **options)


def features_of(body: Any) -> int:
    """How many features a network of :func:`create` without classes gives."""
    return getattr(body, "head_hidden_size", None) or int(body.num_features)


def load_pretrained(
    body: nn.Module, last: nn.Module, path: Path, encoder: str, channels: int, size: tuple[int, ...] | None
) -> None:
    """Copy every layer but the last from a file of weights, made for any number of channels and classes.

    timm starts the last layer of some networks with weights up to ``1 / sqrt(classes)``: the first gradients are then
    so large that they destroy the pretrained features below. It starts near zero instead.

    Args:
        body: What :func:`create` made of ``encoder``, ``channels`` and ``size``.
        last: The linear layer or convolution that gives the logits.
        path: The file of weights.
        encoder: Name of the timm model.
        channels: Channels of its input.
        size: Size (H, W) of its input, where it takes one only.

    Raises:
        UserError: the file does not belong to the encoder.
    """
    copy_pretrained(body, path, encoder, lambda **options: create(encoder, channels, 0, size, **options))
    for name, parameter in last.named_parameters(recurse=False):
        if name == "weight":
            nn.init.normal_(parameter, std=LAST_LAYER_STD)
        else:
            nn.init.zeros_(parameter)
