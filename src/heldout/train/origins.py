"""What a fit is made from besides its dataset: other fits, pretrained weights and pseudo-labels, each checked.

A warm start takes the weights that another experiment reached on the same fold and seed. A network trained with another
fold held out has seen this fold's patients, so that nothing but the same fold of the same fold table will do; the same
seed keeps seeds independent of one another.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from heldout import files
from heldout.data.dataset import Dataset
from heldout.errors import UserError
from heldout.tasks import Task
from heldout.train import runs
from heldout.train.dependencies import find_dependency, how_to_finish, open_dependency
from heldout.train.first_stage import FirstStage, find_first_stage
from heldout.train.record import MadeFrom, WarmStartRecord, read_config
from heldout.train.student import PseudoLabels, find_pseudo_labels

_COMPARED = 8  # of a fit's tensors, the largest
_ENOUGH = 100  # values of a tensor whose correlation says whether it is the same
_ALIKE, _SAME = 0.999, 0.99999  # correlation of copies; of copies of what others began from, too
MIN_FRACTION = 0.5  # share of a network's tensors that must find their counterpart
ENCODERS = ("body.encoder.model.", "body.encoder.", "body.")  # where networks keep their encoder, longest first


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

        An encoder is found where it is all that two networks share, such as a classifier and a segmentation network.

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
        by_part = {_within_encoder(key): value for key, value in self._stored.items()}
        found = {key: self._stored.get(key, by_part.get(_within_encoder(key))) for key in network.state_dict()}
        own = network.state_dict()
        return {key: value for key, value in found.items() if value is not None and own[key].shape == value.shape}

    @cached_property
    def _stored(self) -> dict[str, Tensor]:
        return load_file(self.folder / "weights.safetensors")


def _within_encoder(key: str) -> str:
    """Name of a tensor within the encoder, or within the body, of a network."""
    return next((key.removeprefix(prefix) for prefix in ENCODERS if key.startswith(prefix)), key)


@dataclass(frozen=True, eq=False)
class Origins:
    """What a fit of one fold and seed is made from; None for what its experiment does not use.

    Attributes:
        warm_start: Weights of another experiment to begin with.
        first_stage: Fits whose out-of-fold maps are shown, or crop the image.
        encoder_weights: SHA-256 of the file of pretrained weights.
        pseudo_labels: Further training cases.
    """

    warm_start: WarmStart | None
    first_stage: FirstStage | None
    encoder_weights: str | None
    pseudo_labels: PseudoLabels | None

    def hashes(self) -> MadeFrom:
        """The hash of each, as ``config.json`` keeps it."""
        return MadeFrom(
            warm_start=None if self.warm_start is None else self.warm_start.sha256,
            first_stage=None if self.first_stage is None else self.first_stage.key,
            encoder_weights=self.encoder_weights,
            pseudo_labels=None if self.pseudo_labels is None else self.pseudo_labels.sha256,
        )


def find_origins(config: Task, dataset: Dataset, seed: int, fold: int) -> Origins:
    """Find and check what a fit is made from.

    Raises:
        UserError: one of them is not finished, does not exist, was made on other folds or cases, or is not the one that
            other folds of this experiment were made from.
    """
    if config.imported is not None:
        raise UserError(f"{config.spec} was predicted elsewhere and is not trained: train {config.experiment}")
    if config.first_stage is not None:
        runs.check_code(find_dependency(config, "first_stage"))
    return Origins(
        find_warm_start(config, dataset, seed, fold),
        find_first_stage(config, dataset),
        find_encoder_weights(config),
        find_pseudo_labels(config, dataset, fold),
    )


def find_warm_start(config: Task, dataset: Dataset, seed: int, fold: int) -> WarmStart | None:
    """The weights that a fold begins with, or None where the experiment has no ``warm_start``.

    An experiment run under a budget begins with a run under the same budget, where the other experiment declares it.

    Raises:
        UserError: the other experiment has not finished this fold and seed, has other folds or cases, or chose
            its weights by the fold's own score while this one claims not to.
    """
    if config.warm_start is None:
        return None
    source = find_dependency(config, "warm_start")
    if not runs.is_finished(runs.fit_folder(source.spec, seed, fold)):
        raise UserError(
            f"{config.spec} starts from {source.spec}, whose seed {seed} fold {fold} is not finished: "
            f"{how_to_finish(source, seed, fold)}"
        )
    runs.check_identity(source)
    runs.check_code(source)
    fit = open_dependency(config, source, dataset, seed, fold)
    return WarmStart(source.spec, fit.folder, fit.record.sha256.weights)


def find_encoder_weights(config: Task) -> str | None:
    """SHA-256 of the file of pretrained weights, checked; None where the network starts at random.

    Raises:
        UserError: there is no such file, it holds the weights of a run, or folds of this experiment began from
            another one.
    """
    path = config.pretrained_file()
    if path is None:
        return None
    digest = files.sha256_file(path)
    if (fit := runs.find_weights(digest) or _find_trained_tensors(path, digest)) is not None:
        raise UserError(
            f"{path} holds the weights of {fit.folder}, which may have seen the patients held out here: "
            f"name {fit.record.spec} as warm_start, which takes the same fold and seed"
        )
    made = "started from pretrained weights that have changed since"
    runs.check_made_alike(config.spec, "encoder_weights", digest, made, path)
    return digest


def _find_trained_tensors(path: Path, digest: str) -> runs.FitRecord | None:
    """The fit of which a file holds a large tensor, however it is called, stored or rounded; None where there is none.

    Tensors of one value do not count, nor those that the fit itself took from this file. One tensor gives away a fit
    that began at random. A fit that began from pretrained weights shares them with others that did, and the file that
    it began from may be gone: more than half of its largest tensors must be there, more alike than training leaves
    them.
    """
    by_shape: dict[tuple[int, ...], list[Tensor]] = {}
    for tensor in _tensors(path):
        if tensor.numel() > 1 and bool((tensor != tensor.flatten()[0]).any()):
            by_shape.setdefault(tuple(tensor.shape), []).append(_direction(tensor))
    for fit in runs.all_fits():
        weights = fit.folder / "weights.safetensors"
        with contextlib.suppress(OSError, SafetensorError, UserError), safe_open(weights, "pt") as stored:
            began = read_config(fit.folder).made_from.encoder_weights
            if began == digest:
                continue
            shapes = {key: tuple(stored.get_slice(key).get_shape()) for key in stored.keys()}  # noqa: SIM118
            largest = sorted(shapes, key=lambda key: -math.prod(shapes[key]))[:_COMPARED]
            shared = [key for key in largest if shapes[key] in by_shape]
            shared = [key for key in shared if math.prod(shapes[key]) >= _ENOUGH] or shared
            bar = _ALIKE if began is None else _SAME
            found = (_among(stored.get_tensor(key), by_shape[shapes[key]], bar) for key in shared)
            if any(found) if began is None else 2 * sum(found) > len(shared):
                return fit
    return None


def _among(tensor: Tensor, directions: list[Tensor], bar: float) -> bool:
    """Whether one of the directions is that of a tensor of their shape; small tensors, alike by chance, are equal."""
    own = _direction(tensor)
    if len(own) < _ENOUGH:
        return any(torch.equal(own, one) for one in directions)
    return any(float(own @ one) > bar for one in directions)


def _direction(tensor: Tensor) -> Tensor:
    """The values of a tensor in float32, (n,); those of a large one centered and of length 1, (n,)."""
    values = tensor.detach().to(torch.float32).flatten()
    if len(values) < _ENOUGH:
        return values
    values = values - values.mean()
    return values / values.norm()


def _tensors(path: Path) -> Iterator[Tensor]:
    """The tensors of a file of weights, in whatever form it keeps them; none where it cannot be read here."""
    pending: list[Any] = []
    with contextlib.suppress(Exception):  # who loads it as weights says what is wrong with it
        pending = [load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)]
    seen: set[int] = set()  # a list may hold itself
    while pending:
        one = pending.pop()
        if isinstance(one, Tensor):
            yield one
        elif isinstance(one, Mapping | list | tuple) and id(one) not in seen:
            seen.add(id(one))
            pending.extend(one.values() if isinstance(one, Mapping) else one)
