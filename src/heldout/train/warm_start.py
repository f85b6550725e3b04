"""Warm start: a fold begins with the weights that another experiment reached on the same fold and seed.

A network trained with another fold held out has seen this fold's patients, so that nothing but the same fold of the
same fold table will do; the same seed keeps seeds independent of one another.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor, nn

from heldout.data.dataset import Dataset
from heldout.errors import UserError
from heldout.tasks import Task
from heldout.train import runs
from heldout.train.origin import find_origin, how_to_finish, open_origin
from heldout.train.record import WarmStartRecord

MIN_FRACTION = 0.5  # share of a network's tensors that must find their counterpart


@dataclass(frozen=True, eq=False)
class WarmStart:
    """Finished weights to begin with.

    Attributes:
        spec: The experiment that trained them.
        folder: The fit that did.
        sha256: SHA-256 of its weights.
    """

    spec: str
    folder: Path
    sha256: str

    def fill(self, network: nn.Module) -> None:
        """Copy every tensor that has its name and shape in ``network``; what differs, such as a head, stays random.

        Raises:
            UserError: fewer than half of the network's tensors are there.
        """
        fitting, all_of_them = self._fitting(network), len(network.state_dict())
        if len(fitting) < MIN_FRACTION * all_of_them:
            raise UserError(
                f"warm_start = {self.spec!r} fits {len(fitting)} of the network's {all_of_them} tensors: name an "
                "experiment with the same architecture and encoder"
            )
        network.load_state_dict(fitting, strict=False)

    def describe(self, network: nn.Module) -> WarmStartRecord:
        """What the record of a fold says of it."""
        loaded, tensors = len(self._fitting(network)), len(network.state_dict())
        return WarmStartRecord(spec=self.spec, sha256=self.sha256, loaded=loaded, tensors=tensors)

    def _fitting(self, network: nn.Module) -> dict[str, Tensor]:
        own = network.state_dict()
        return {key: value for key, value in self._stored.items() if key in own and own[key].shape == value.shape}

    @cached_property
    def _stored(self) -> dict[str, Tensor]:
        return load_file(self.folder / "weights.safetensors")


def find_warm_start(config: Task, dataset: Dataset, seed: int, fold: int) -> WarmStart | None:
    """The weights that a fold begins with, or None where the experiment has no ``warm_start``.

    An experiment run under a budget begins with a run under the same budget, where the other experiment declares it.

    Raises:
        UserError: the other experiment has not finished this fold and seed, stands on other folds or cases, or chose
            its weights by the fold's own score while this one claims not to.
    """
    if config.warm_start is None:
        return None
    source = find_origin(config, "warm_start")
    if not runs.is_finished(runs.fit_folder(source.spec, seed, fold)):
        raise UserError(
            f"{config.spec} starts from {source.spec}, whose seed {seed} fold {fold} is not finished: "
            f"{how_to_finish(source, seed, fold)}"
        )
    runs.check_identity(source)
    runs.check_code(source)
    fit = open_origin(config, source, dataset, seed, fold)
    return WarmStart(source.spec, fit.folder, fit.record.sha256.weights)
