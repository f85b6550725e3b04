"""Pretrained weights of a task's encoder: the field, the file that it means, and the standardization it asks for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, model_validator

from heldout.tasks.base import Task

if TYPE_CHECKING:
    from torch import nn

    from heldout.tasks.nets.hub import HubWeights, Library
    from heldout.tasks.nets.network import Network


class PretrainedEncoder(Task):
    """A task whose network has an encoder of timm or of segmentation_models.pytorch."""

    encoder_weights: Literal[True] | str | None = Field(
        None,
        description="pretrained weights: True is the encoder's default, a word one of its tags; else a file: its name "
        "in $HELDOUT_WEIGHTS or input/weights/, or a path",
    )

    layer_decay: float | None = Field(
        None, gt=0, le=1, description="factor of the learning rate from a layer of the encoder to the one before it"
    )
    frozen_epochs: int = Field(
        0, ge=0, description="number of first epochs in which the encoder is frozen, running statistics too"
    )

    @model_validator(mode="after")
    def _epochs_after_freezing(self) -> Self:
        if self.frozen_epochs and self.frozen_epochs >= self.epochs:
            raise ValueError(f"frozen_epochs = {self.frozen_epochs} leaves none of {self.epochs} epochs: lower it")
        return self

    def start_epoch(self, model: nn.Module, epoch: int) -> None:
        """Put the network into training mode, with a frozen encoder in the first epochs if so wanted."""
        super().start_epoch(model, epoch)
        self.freeze(model, epoch)

    def freeze(self, model: nn.Module, epoch: int) -> None:
        """Freeze or release the encoder, as the epoch asks for; does nothing without ``frozen_epochs``."""
        if self.frozen_epochs:
            from heldout.tasks.nets.encoder import freeze_encoder

            freeze_encoder(model, epoch < self.frozen_epochs)

    def encoder_library(self) -> tuple[str, Library]:
        """Name of the encoder, and the library that has it."""
        raise NotImplementedError

    def pretrained_file(self) -> Path | None:
        """The file of pretrained weights, found or fetched; None where there is none.

        A file that is called as the encoder is fetched, as the encoder's default weights, where no folder has it.

        Raises:
            UserError: there is no such file.
        """
        from heldout.tasks.nets import hub, weights

        if self.encoder_weights is None:
            return None
        named = self.hub_weights()
        return (
            weights.weights_file(str(self.encoder_weights))
            if named is None
            else hub.find_file(named, weights.weight_folders())
        )

    def hub_weights(self) -> HubWeights | None:
        """The weights of a model hub that the field means; None where it means a file, or nothing."""
        from heldout.tasks.nets import hub, weights

        if (named := self._by_name()) is not None or self.encoder_weights is None:
            return named
        encoder, library = self.encoder_library()
        file = f"{encoder.removeprefix('tu-')}.safetensors"
        absent = not any((folder / file).is_file() for folder in weights.weight_folders())
        return hub.find_weights(encoder, True, library) if self.encoder_weights == file and absent else None

    def _by_name(self) -> HubWeights | None:
        """The weights, where the field names those of a library and not a file."""
        from heldout.tasks.nets import hub, weights

        value = self.encoder_weights
        if value is None or (value is not True and weights.is_file_name(value)):
            return None
        encoder, library = self.encoder_library()
        return hub.find_weights(encoder, value, library)

    def standardized(self, network: Network) -> Network:
        """A network that is to standardize as its weights, named by a tag, want it: by numbers kept with them."""
        from heldout.tasks.nets.weights import is_file_name

        value = self.encoder_weights
        if value is not None and (value is True or not is_file_name(value)) and self.bounded:
            network.add_statistics(self.channels)
        return network

    def fill_statistics(self, network: Any, file: Path) -> None:
        """Give a network the mean and deviation of its weights, of those that are named by a tag."""
        from heldout.tasks.nets.hub import statistics_of

        named = self._by_name()
        if named is not None and self.bounded:
            network.fill_statistics(*statistics_of(named, file))
