"""A random batch through an experiment's network, before its cases are prepared."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from heldout.predict.models import HasClasses, widened
from heldout.tasks import Task
from heldout.tasks.dry_run import try_batch

if TYPE_CHECKING:
    from heldout.data.dataset import Dataset

_passed: set[tuple[object, ...]] = set()  # what was tried in this process already


def try_first_batch(config: Task, classes: HasClasses, dataset: Dataset | None = None) -> None:
    """Train a fresh network on a random batch as small as those of the training can be.

    Args:
        config: The experiment.
        classes: The dataset, or its source.
        dataset: The checked dataset, whose prepared cases say how large a batch is where no field does; None tries
            nothing then.

    Raises:
        UserError: as :func:`heldout.tasks.dry_run.try_batch`.
    """
    size = config.patch_size or config.image_size
    if size is None:
        if dataset is None:
            return
        from heldout.train.first_stage import with_first_stage

        prepared = with_first_stage(dataset, config)
        sizes = {prepared.geometry(case_id).prepared for case_id in dataset.part("train")["case_id"]}
        if len(sizes) > 1 and config.batch_size > 1:
            return  # refused with the batches
        size = min(sizes, key=math.prod)
    try_size(config, classes, size)


def try_size(config: Task, classes: HasClasses, size: Sequence[int]) -> None:
    """Train a fresh network on a random batch of a spatial shape, once in a process.

    Raises:
        UserError: as :func:`heldout.tasks.dry_run.try_batch`.
    """
    count, samples = len(classes.classes), min(2, config.batch_size)
    key = (config.identity_hash(), count, classes.exclusive, tuple(size), samples)
    if key not in _passed:
        try_batch(widened(config, count), count, classes.exclusive, size, samples)
        _passed.add(key)
