"""The encoder of a network: what pretrained weights fill, and what is frozen or slowed while the rest learns."""

from __future__ import annotations

from typing import Any, cast

from torch import nn

from heldout.errors import UserError
from heldout.tasks.nets.rescaled import Rescaled


def encoder_of(network: nn.Module) -> nn.Module:
    """The encoder; of a classifier all of it, last layer included."""
    network = network.network if isinstance(network, Rescaled) else network
    body = getattr(network, "body", network)
    return getattr(body, "encoder", body)


def freeze_encoder(network: nn.Module, frozen: bool) -> None:
    """Freeze or release the encoder: its weights, and while it is frozen its running statistics.

    Raises:
        UserError: the network is one encoder, of which no last layer is known.
    """
    encoder = encoder_of(network)
    encoder.requires_grad_(not frozen)
    if not frozen:
        return
    encoder.eval()
    head = _last_layer(encoder)
    if head is not None:
        head.requires_grad_(True).train()
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise UserError(
            "frozen_epochs needs a network with an encoder: name that part `encoder`, or set frozen_epochs = 0"
        )


def _last_layer(encoder: nn.Module) -> nn.Module | None:
    """The last layer of a classifier of timm or MONAI; None of an encoder that ends in features."""
    if hasattr(encoder, "get_classifier"):
        head = cast("Any", encoder).get_classifier()
        return head if isinstance(head, nn.Module) and any(True for _ in head.parameters()) else None
    return getattr(encoder, "fc", None)
