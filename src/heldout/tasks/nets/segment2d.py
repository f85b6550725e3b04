"""2D segmentation: networks of segmentation_models.pytorch (https://github.com/qubvel-org/segmentation_models.pytorch)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import segmentation_models_pytorch as smp
import timm
from timm.models import load_state_dict
from torch import nn

from heldout.errors import UserError
from heldout.tasks.nets.network import Network
from heldout.tasks.nets.weights import unknown_encoder, weights_file


def build(
    arch: str,
    encoder: str,
    in_channels: int,
    channels: int,
    *,
    decoder_channels: Sequence[int] | None = None,
    head: dict[str, Any] | None = None,
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
        standardize: Images hold 0 ... 1, not z-scores.

    Raises:
        UserError: there is no such encoder, or the architecture cannot use it.
    """
    known = timm.list_models() if encoder.startswith("tu-") else smp.encoders.get_encoder_names()
    if encoder.removeprefix("tu-").partition(".")[0] not in known:
        raise unknown_encoder(encoder, known)
    decoder = {} if decoder_channels is None else {"decoder_channels": decoder_channels}
    try:
        body = smp.create_model(
            arch,
            encoder,
            encoder_weights=None,
            in_channels=in_channels,
            classes=channels,
            aux_params=head,
            **decoder,
        )
    except (ValueError, KeyError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"arch = {arch!r} does not work with encoder = {encoder!r} ({reason})") from None
    # 32 satisfies every architecture: some decoders halve further than the encoder says
    return Network(body, "mask", standardize=standardize, multiple=(max(32, body.encoder.output_stride),) * 2)


def load_pretrained(model: Network, encoder: str, in_channels: int, weights: str) -> None:
    """Copy the encoder's layers from a file of weights, made for three channels.

    Args:
        model: What :func:`build` made.
        encoder: Name of the encoder.
        in_channels: Image channels C.
        weights: The file, as the field ``encoder_weights`` names it.

    Raises:
        UserError: the file does not exist or does not belong to the encoder.
    """
    path = weights_file(weights)
    try:
        donor = _donor(encoder, in_channels, str(path))
        model.body.encoder.load_state_dict(donor.state_dict())
    except (RuntimeError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path} does not hold weights of {encoder} ({reason}): name another file") from None


def _donor(name: str, in_channels: int, path: str) -> nn.Module:
    """An encoder with the file's weights, its first layer adapted to the number of channels."""
    if name.startswith("tu-"):
        return smp.encoders.get_encoder(
            name, in_channels=in_channels, weights=True, pretrained_cfg_overlay={"file": path}
        )
    encoder = smp.encoders.get_encoder(name, in_channels=3)
    # classification heads, which encoders lack, are the only keys that may be left over
    state = load_state_dict(path)
    kept = {key: value for key, value in state.items() if not key.startswith(("fc.", "classifier.", "head.", "_fc."))}
    encoder.load_state_dict(kept)
    encoder.set_in_channels(in_channels, pretrained=True)
    return encoder
