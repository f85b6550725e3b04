"""Number formats of prediction: which one a device uses, and by how much it may change a prediction."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

FLOAT32 = "32-true"


@dataclass(frozen=True)
class Tolerance:
    """How far a prediction that is made again may be off before it counts as another one.

    Attributes:
        score: Of a case's score; of numbers beyond 1, as a fraction.
        step: Of a stored probability, of 255.
        share: Fraction of the voxels that may be off by more, but lie where the network is in doubt.
    """

    score: float
    step: int
    share: float


# On one machine predictions repeat bit for bit but for the batch they were in; another processor adds in other orders.
# Half precision has 11 bits (float16) or 8 (bfloat16), and other hardware rounds between other operations.
TOLERANCES = {
    FLOAT32: Tolerance(1e-5, 1, 0.0),
    "16-mixed": Tolerance(5e-3, 4, 1e-3),
    "bf16-mixed": Tolerance(4e-2, 16, 1e-2),
}
FORMATS = tuple(TOLERANCES)  # from the most exact to the least


def resolve(wanted: str, device: torch.device) -> str:
    """The format in which a device predicts.

    Args:
        wanted: The field ``predict_precision``: ``auto`` is float16 on a GPU and float32 on a CPU, which has no fast
            float16 and takes float32 for it.
        device: Where to compute.
    """
    if device.type == "cpu":
        return wanted if wanted == "bf16-mixed" else FLOAT32
    return "16-mixed" if wanted == "auto" else wanted


def least_exact(formats: Iterable[str]) -> str:
    """The least exact of some formats."""
    return max(formats, key=FORMATS.index)


@contextlib.contextmanager
def number_format(name: str, device: torch.device) -> Iterator[None]:
    """Compute in a format inside: float32 to its last bit, or half precision, and TF32 where float32 is left.

    TF32 would round what a GPU multiplies in float32 to ten bits.
    """
    import torch

    half, matmul = name != FLOAT32, torch.backends.cuda.matmul
    dtype = torch.float16 if name == "16-mixed" else torch.bfloat16
    before = matmul.allow_tf32
    kernels = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=half)
    with kernels, torch.autocast(device.type, dtype=dtype, enabled=half):
        matmul.allow_tf32 = half
        try:
            yield
        finally:
            matmul.allow_tf32 = before
