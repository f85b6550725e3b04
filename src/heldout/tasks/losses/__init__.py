"""Losses by name, all with one contract: logits and one-hot targets of one shape (B, C, *S) to a scalar."""

from heldout.tasks.losses.task_loss import PlainLoss, TaskLoss, build, is_plain

__all__ = ["PlainLoss", "TaskLoss", "build", "is_plain"]
