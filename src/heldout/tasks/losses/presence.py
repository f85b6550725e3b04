"""Losses of whole cases: is a class there at all, as the map says, or as a second head says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from heldout.metrics.ignored import IGNORED
from heldout.metrics.masks import presence_count
from heldout.tasks.losses.bce import BinaryCrossEntropy
from heldout.tasks.losses.ignored import hide_logits


class WeightedSum(nn.Module):
    """Sum of losses, each counted only where the network gives what it is about.

    Args:
        terms: For each loss the key of the output it needs, its weight, and the loss itself.
    """

    def __init__(self, terms: Mapping[str, tuple[str, float, nn.Module]]) -> None:
        super().__init__()
        self.keys = {name: (key, weight) for name, (key, weight, _) in terms.items()}
        self.losses = nn.ModuleDict({name: loss for name, (_, _, loss) in terms.items()})

    def forward(self, outputs: dict[str, Any], batch: dict[str, Tensor]) -> Tensor:
        """Outputs and batch, as :class:`heldout.tasks.losses.TaskLoss` takes them, to a scalar."""
        values = [
            weight * self.losses[name](outputs, batch) for name, (key, weight) in self.keys.items() if key in outputs
        ]
        return torch.stack(values).sum()


class HeadPresence(nn.Module):
    """Cross-entropy of each class's presence as a second head says it, in float32.

    Args:
        exclusive: The dataset's classes exclude each other.
        patches: Samples are patches of cases: the mask says what they show, not the case's label.
        label_smoothing: As of :class:`BinaryCrossEntropy`.
    """

    def __init__(self, exclusive: bool, patches: bool = False, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.patches = patches
        self.exclusive = exclusive
        self.loss = BinaryCrossEntropy(label_smoothing=label_smoothing)

    def logits(self, outputs: dict[str, Any], batch: dict[str, Tensor]) -> Tensor:  # noqa: ARG002 - for subclasses
        """Logits (B, K) of each class's presence, of the network's ``"label"`` logits."""
        return outputs["label"].float()

    def forward(self, outputs: dict[str, Any], batch: dict[str, Tensor]) -> Tensor:
        """What the network gives and a batch to a scalar."""
        logits = self.logits(outputs, batch)
        with torch.autocast(logits.device.type, enabled=False):
            return self.loss(logits, presence_target(batch, logits.shape[1], self.exclusive, self.patches))


class MapPresence(HeadPresence):
    """Cross-entropy of each class's presence as its map says it: the mean of its highest logits, in float32.

    The voxels that are averaged are as many as :func:`heldout.predict.prediction.presence` averages, so that the
    loss pulls at what ranks the cases. A map whose classes exclude each other is read by the log-odds of each class.
    """

    def logits(self, outputs: dict[str, Any], batch: dict[str, Tensor]) -> Tensor:
        """Logits (B, K) of each class's presence, of the network's ``"mask"`` logits (B, C, *S)."""
        logits = outputs["mask"].float()
        softmax = self.exclusive and logits.shape[1] > 1
        return top_mean(class_logits(hide_logits(logits, batch["mask"], softmax), self.exclusive))


def top_mean(logits: Tensor) -> Tensor:
    """Mean (B, K) of the highest logits of each map (B, K, *S): :func:`presence_count` of them."""
    flat = logits.flatten(2)
    return flat.topk(presence_count(flat.shape[2]), dim=2).values.mean(dim=2)


def class_logits(logits: Tensor, exclusive: bool) -> Tensor:
    """Logits (B, K, *S) of each class against everything else.

    Args:
        logits: (B, K, *S), or (B, K + 1, *S) with the background first where several classes exclude each other.
        exclusive: Classes exclude each other.
    """
    if not exclusive or logits.shape[1] == 1:
        return logits
    channels = range(1, logits.shape[1])
    others = [torch.cat([logits[:, :k], logits[:, k + 1 :]], dim=1).logsumexp(dim=1) for k in channels]
    return logits[:, 1:] - torch.stack(others, dim=1)


def presence_target(batch: dict[str, Tensor], classes: int, exclusive: bool, patches: bool) -> Tensor:
    """Which classes a sample shows, (B, K) float: the case's labels, or for a patch of it what the mask holds there."""
    if not patches:
        return batch["label"].float()
    mask = batch["mask"].flatten(2)
    if exclusive and classes > 1:
        values = torch.arange(1, classes + 1, device=mask.device).view(1, classes, 1)
        return (mask == values).any(dim=2).float()
    return ((mask > 0) & (mask != IGNORED)).any(dim=2).float()
