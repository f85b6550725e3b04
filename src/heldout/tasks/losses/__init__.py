"""Losses by name, all with one contract: logits and one-hot targets of one shape (B, C, *S) to a scalar."""

from heldout.tasks.losses.task_loss import TaskLoss, build

__all__ = ["TaskLoss", "build"]
