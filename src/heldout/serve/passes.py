"""How far a prediction is: passes of its networks that are done, of those that it takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from heldout.blend.apply import MemberNetworks
from heldout.predict.forward import flip_sets, window_of
from heldout.predict.windows import count_passes


class Passes:
    """Counts the passes of networks and tells their share, by a hook of every network.

    Args:
        members: Whose networks are counted.
    """

    def __init__(self, members: Sequence[MemberNetworks]) -> None:
        self._members = members
        self._told: Callable[[float], None] | None = None
        self._done = self._expected = 0
        for network in (network for member in members for network in member.models):
            network.register_forward_pre_hook(lambda *_: self._step())

    def begin(self, told: Callable[[float], None] | None) -> None:
        """Begin with a request.

        Args:
            told: Called before every pass with the share that is done; what it raises ends the prediction.
        """
        self._told, self._done, self._expected = told, 0, 0

    def expect(self, images: Sequence[np.ndarray]) -> None:
        """Foresee the passes of a case, of whose prepared images (C, *S) every member has one."""
        for member, image in zip(self._members, images, strict=True):
            config, size = member.config, image.shape[1:]
            if config.patch_size is not None:
                size = tuple(map(max, size, config.patch_size))
            window = window_of(config, size, *member.models)
            passes = 1
            if window is not None:
                device = next(member.models[0].parameters()).device
                passes = count_passes(size, window, config.predict_batch_size, overlap=config.overlap, device=device)
            self._expected += len(member.models) * len(flip_sets(config, member.tta)) * len(config.tta_scales) * passes

    def _step(self) -> None:
        if self._told is not None:
            self._told(min(self._done / self._expected, 1.0) if self._expected else 0.0)
            self._done += 1
