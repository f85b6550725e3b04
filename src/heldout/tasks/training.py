"""What an experiment may change of the training loop: fields and hooks of optimization, sampling and batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from pydantic import Field, model_validator

from heldout.config import BaseConfig

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import torch
    from torch import Tensor, nn
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

    from heldout.tasks.optim import Precision

    Batch = dict[str, Tensor]


class Training(BaseConfig):
    """Fields and hooks of the training loop."""

    # Training loop
    devices: int = Field(
        1, ge=1, le=64, description="devices that train one fold together, each on its share of every batch"
    )
    swa_start: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="fraction of the steps after which the weights are averaged evenly (SWA) instead of exponentially",
    )
    progressive_sizes: tuple[float, ...] = Field(
        (),
        description="side lengths of images or patches, as fractions, in equal parts of the epochs: (0.5, 1.0)",
    )
    gradient_checkpointing: bool = Field(
        False, description="compute activations again in the backward pass: less memory, more time, the same weights"
    )
    mixup: float = Field(
        0.0, ge=0, description="alpha of mixup: samples of a batch are added in shares drawn from Beta(alpha, alpha)"
    )
    cutmix: float = Field(
        0.0, ge=0, description="alpha of cutmix: a box of another sample is pasted; with mixup, either in turn"
    )

    @model_validator(mode="after")
    def _shares_of_batches(self) -> Self:
        if self.batch_size % self.devices:
            raise ValueError(
                f"batch_size = {self.batch_size} cannot be shared evenly by devices = {self.devices}: make it a "
                "multiple"
            )
        if self.devices > 1 and self.measure_speed:
            raise ValueError("measure_speed measures one device: set devices = 1, or measure_speed = False")
        return self

    @model_validator(mode="after")
    def _sizes_in_reach(self) -> Self:
        sizes = self.progressive_sizes
        if any(not 0 < size <= 1 for size in sizes) or list(sizes) != sorted(sizes):
            raise ValueError(f"progressive_sizes = {sizes} must grow, from above 0 to 1 at most: such as (0.5, 1.0)")
        return self

    def size_in(self, epoch: int) -> float:
        """Side length of images or patches in an epoch, counted from 0, as a fraction of theirs."""
        sizes = self.progressive_sizes
        return sizes[epoch * len(sizes) // self.epochs] if sizes else 1.0

    def build_optimizer(self, network: nn.Module, precision: Precision) -> Optimizer:
        """Make the optimizer: any of torch, or of the same kind.

        Args:
            network: What is trained.
            precision: Number format; with ``"16-mixed"`` gradients are scaled, which a fused optimizer cannot
                have clipped.

        Example:
            >>> from torch import nn
            >>> from heldout.tasks import Classify2D
            >>> type(Classify2D(lr=0.01).build_optimizer(nn.Linear(2, 1), "32-true")).__name__
            'AdamW'
        """
        from heldout.tasks.optim import build_optimizer

        return build_optimizer(self, network, precision)

    def build_schedule(self, optimizer: Optimizer, steps_per_epoch: int) -> LRScheduler:
        """Make the learning-rate schedule, which takes a step after every optimizer step.

        Args:
            optimizer: What it drives.
            steps_per_epoch: Optimizer steps of an epoch; there are ``self.epochs`` epochs.

        Example:
            >>> from torch import nn
            >>> from heldout.tasks import Classify2D
            >>> task = Classify2D(lr=0.01, epochs=10, warmup_fraction=0.0)
            >>> optimizer = task.build_optimizer(nn.Linear(2, 1), "32-true")
            >>> schedule = task.build_schedule(optimizer, steps_per_epoch=5)
            >>> rates = []
            >>> for _ in range(50):
            ...     rates += schedule.get_last_lr()
            ...     optimizer.step()
            ...     schedule.step()
            >>> max(rates), rates[-1] < 0.001
            (0.01, True)
        """
        from heldout.tasks.optim import build_schedule

        return build_schedule(self, optimizer, steps_per_epoch)

    def draw_epoch(
        self,
        cases: pd.DataFrame,  # noqa: ARG002 - a hook
        count: int,  # noqa: ARG002
        generator: np.random.Generator,  # noqa: ARG002
    ) -> np.ndarray | None:
        """Draw the training cases of one epoch, in order; None draws them as ``positive_fraction`` says.

        Args:
            cases: The training cases: case_id, patient_id, and a column ``y_<class>`` for each class.
            count: Samples wanted.
            generator: Where all random numbers must come from, so that a run can be resumed.

        Returns:
            (count,) positions of rows of ``cases``.

        Example:
            >>> import numpy as np
            >>> import pandas as pd
            >>> from heldout.tasks import Classify2D
            >>> class Even(Classify2D):
            ...     def draw_epoch(self, cases, count, generator):
            ...         weight = 1 / cases.groupby("patient_id")["case_id"].transform("count")
            ...         return generator.choice(len(cases), count, p=weight / weight.sum())
            >>> cases = pd.DataFrame({"case_id": ["a", "b", "c"], "patient_id": ["1", "1", "2"]})
            >>> drawn = Even().draw_epoch(cases, 4000, np.random.default_rng(0))
            >>> round(float((drawn == 2).mean()), 1)
            0.5
        """
        return None

    def transform_batch(self, batch: Batch, generator: torch.Generator, exclusive: bool) -> dict[str, Any]:
        """Change a batch on the training device, after augmentation: mixup and cutmix.

        Args:
            batch: ``"image"`` (B, C, *S), ``"label"`` (B, K), and of segmentations ``"mask"`` (B, M, *S) uint8.
            generator: Of the CPU, where all random numbers must come from.
            exclusive: The classes exclude each other.

        Returns:
            The batch. If it has ``"other"``, further labels and masks, and ``"share"``, a number, the loss is that
            share of the loss against the first, and the rest of it against the others.

        Example:
            >>> import torch
            >>> from heldout.tasks import Classify2D
            >>> batch = {"image": torch.rand(4, 1, 8, 8), "label": torch.ones(4, 1)}
            >>> mixed = Classify2D(mixup=0.2).transform_batch(batch, torch.Generator().manual_seed(0), exclusive=False)
            >>> sorted(mixed), tuple(mixed["image"].shape)
            (['image', 'label', 'other', 'share'], (4, 1, 8, 8))
        """
        if not self.mixup and not self.cutmix:
            return batch
        from heldout.tasks.augment.mix import mix

        return mix(batch, generator, self.mixup, self.cutmix, exclusive)
