"""The networks of one command: each is built and loaded once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

    from heldout.predict.models import HasClasses
    from heldout.tasks import Task


class Networks:
    """Loaded networks by their files of weights. It lives as long as its decision is open."""

    def __init__(self) -> None:
        self._loaded: dict[Path, nn.Module] = {}

    def load(self, config: Task, weights: Path, dataset: HasClasses, device: str = "cpu") -> nn.Module:
        """A fit's network, on a device and in evaluation mode.

        Raises:
            UserError: as :func:`heldout.predict.models.load_model`.
        """
        from heldout.predict.models import load_model

        if weights not in self._loaded:
            self._loaded[weights] = load_model(config, weights, dataset.classes, dataset.exclusive)
        return self._loaded[weights].to(device)
