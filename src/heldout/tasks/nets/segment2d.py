"""2D segmentation: networks of segmentation_models.pytorch (https://github.com/qubvel-org/segmentation_models.pytorch)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import segmentation_models_pytorch as smp
import timm
from timm.models import load_state_dict
from torch import nn

from heldout.errors import UserError
from heldout.tasks.nets.network import Network
from heldout.tasks.nets.weights import unknown_encoder, weights_file

if TYPE_CHECKING:
    from heldout.tasks.segment import Segment2D


def build(config: Segment2D, channels: int, head: dict[str, Any] | None = None) -> Network:
    """Make a network with ``channels`` logits per pixel and random weights.

    Args:
        config: The experiment.
        channels: Logits per pixel.
        head: What the library's classification head takes; None makes none.

    Raises:
        UserError: there is no such encoder, or the architecture cannot use it.
    """
    name = config.encoder
    known = timm.list_models() if name.startswith("tu-") else smp.encoders.get_encoder_names()
    if name.removeprefix("tu-").partition(".")[0] not in known:
        raise unknown_encoder(name, known)
    decoder = {} if config.decoder_channels is None else {"decoder_channels": config.decoder_channels}
    try:
        body = smp.create_model(
            config.arch,
            name,
            encoder_weights=None,
            in_channels=config.channels,
            classes=channels,
            aux_params=head,
            **decoder,
        )
    except (ValueError, KeyError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"arch = {config.arch!r} does not work with encoder = {name!r} ({reason})") from None
    return Network(
        body,
        "mask",
        standardise=config.normalize != "zscore",
        # 32 satisfies every architecture: some decoders halve further than the encoder says
        multiple=(max(32, body.encoder.output_stride),) * 2,
    )


def load_pretrained(config: Segment2D, model: Network) -> None:
    """Copy the encoder's layers from the file ``encoder_weights``, made for three channels.

    Raises:
        UserError: the file does not exist or does not belong to the encoder.
    """
    path = weights_file(config.encoder_weights or "")
    try:
        donor = _donor(config, str(path))
        model.body.encoder.load_state_dict(donor.state_dict())
    except (RuntimeError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path} does not hold weights of {config.encoder} ({reason}): name another file") from None


def _donor(config: Segment2D, path: str) -> nn.Module:
    """An encoder with the file's weights, its first layer adapted to the experiment's channels."""
    if config.encoder.startswith("tu-"):
        return smp.encoders.get_encoder(
            config.encoder, in_channels=config.channels, weights=True, pretrained_cfg_overlay={"file": path}
        )
    encoder = smp.encoders.get_encoder(config.encoder, in_channels=3)
    # classification heads, which encoders lack, are the only keys that may be left over
    state = load_state_dict(path)
    kept = {key: value for key, value in state.items() if not key.startswith(("fc.", "classifier.", "head.", "_fc."))}
    encoder.load_state_dict(kept)
    encoder.set_in_channels(config.channels, pretrained=True)
    return encoder
