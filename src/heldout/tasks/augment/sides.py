"""Labels and masks of volumes that were flipped from left to right, where classes have a side."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def swap_sides(batch: dict[str, Tensor], mirrored: Tensor, order: Sequence[int]) -> dict[str, Tensor]:
    """Let the classes of flipped samples change places.

    Args:
        batch: Labels (B, K), and perhaps masks (B, 1, X, Y, Z) of label values or (B, K, X, Y, Z) of 0 and 1;
            255 is ignored.
        mirrored: Which samples were flipped, (B,) bool.
        order: For each class, the one that it becomes.

    Returns:
        The batch with labels and masks replaced.
    """
    label = batch["label"]
    swapped = {"label": torch.where(mirrored[:, None], label[:, order], label)}
    if (mask := batch.get("mask")) is not None:
        values = torch.arange(256, device=mask.device).to(mask.dtype)  # 255 is ignored, and stays so
        values[1 : 1 + len(order)] = torch.tensor([number + 1 for number in order], device=mask.device).to(mask.dtype)
        other = values[mask.long()] if mask.shape[1] == 1 else mask[:, order]
        swapped["mask"] = torch.where(mirrored.view(-1, 1, 1, 1, 1), other, mask)
    return {**batch, **swapped}
