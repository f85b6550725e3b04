"""2D segmentation: networks of segmentation_models.pytorch (https://github.com/qubvel-org/segmentation_models.pytorch)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from heldout.errors import UserError
from heldout.tasks.nets.libraries import smp, timm
from heldout.tasks.nets.network import Network
from heldout.tasks.nets.weights import copy_pretrained, unknown_encoder

STRIDE = 32  # satisfies every architecture: some decoders halve further than the encoder says
CLASSIFIERS = ("fc.", "classifier.", "head.", "_fc.")


def build(
    arch: str,
    encoder: str,
    in_channels: int,
    channels: int,
    *,
    decoder_channels: Sequence[int] | None = None,
    head: dict[str, Any] | None = None,
    image_size: Sequence[int] | None = None,
    standardize: bool = True,
) -> Network:
    """Make a network with ``channels`` logits per pixel and random weights.

    Args:
        arch: Architecture of segmentation_models.pytorch.
        encoder: Name of its encoder; ``tu-<name>`` is one of timm.
        in_channels: Image channels C.
        channels: Logits per pixel.
        decoder_channels: Channels of the decoder's levels, coarse to fine, where the architecture has them; None is the
            library's default.
        head: What the library's classification head takes; None makes none.
        image_size: Size (H, W) of the images, for encoders of timm that are made for one size; None is their own.
        standardize: Images hold 0 ... 1, not z-scores.

    Returns:
        A network from (B, C, H, W) to logits (B, channels, H, W).

    Raises:
        UserError: there is no such encoder, or the architecture cannot use it.

    Example:
        >>> import torch
        >>> build("Unet", "resnet18", 1, 2).eval()(torch.rand(1, 1, 48, 33)).shape
        torch.Size([1, 2, 48, 33])
    """
    known = [*smp.encoders.get_encoder_names(), *(f"tu-{name}" for name in timm.list_models())]
    if encoder.partition(".")[0] not in known:
        raise unknown_encoder(encoder, known)
    options: dict[str, Any] = {} if decoder_channels is None else {"decoder_channels": decoder_channels}
    size = _fixed_size(encoder, image_size)
    if size is not None:
        options["img_size"] = size
    try:
        body = smp.create_model(
            arch,
            encoder,
            encoder_weights=None,
            in_channels=in_channels,
            classes=channels,
            aux_params=head,
            **options,
        )
    except (ValueError, KeyError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"arch = {arch!r} does not work with encoder = {encoder!r} ({reason}): set encoder = 'resnet18'"
        ) from None
    multiple = max(STRIDE, body.encoder.output_stride)
    return Network(body, standardize=standardize, multiple=(multiple,) * 2, input_size=size)


def _fixed_size(encoder: str, image_size: Sequence[int] | None) -> tuple[int, ...] | None:
    """The padded size (H, W) that an encoder of timm must be made for; None where it takes every size."""
    if image_size is None or not encoder.startswith("tu-"):
        return None
    fixed = timm.get_pretrained_cfg(encoder.removeprefix("tu-"), allow_unregistered=True)
    if fixed is None or not fixed.fixed_input_size:
        return None
    return tuple(-(-length // STRIDE) * STRIDE for length in image_size)


def load_pretrained(
    encoder: nn.Module, path: Path, name: str, channels: int, size: Sequence[int] | None = None
) -> None:
    """Copy an encoder's layers from a file of weights, made for three channels.

    Args:
        encoder: The encoder of what :func:`build` made.
        path: The file of weights.
        name: Name of the encoder.
        channels: Image channels C.
        size: Size (H, W) that the encoder was made for, where it takes one only.

    Raises:
        UserError: the file does not belong to the encoder.
    """

    def create(*, pretrained: bool = False, pretrained_cfg_overlay: dict[str, str] | None = None) -> nn.Module:
        if name.startswith("tu-"):
            options: dict[str, Any] = {} if size is None else {"img_size": size}
            if pretrained:
                options["pretrained_cfg_overlay"] = pretrained_cfg_overlay
            return smp.encoders.get_encoder(name, in_channels=channels, weights=pretrained or None, **options)
        donor = smp.encoders.get_encoder(name, in_channels=3)
        if pretrained_cfg_overlay is not None:
            # classification heads, which encoders lack, are the only keys that may be left over
            state = timm.models.load_state_dict(pretrained_cfg_overlay["file"])
            donor.load_state_dict({key: value for key, value in state.items() if not key.startswith(CLASSIFIERS)})
        donor.set_in_channels(channels, pretrained=pretrained)
        return donor

    copy_pretrained(encoder, path, name, create)
