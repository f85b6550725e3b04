"""Common checks that every experiment must pass: what would otherwise fail after minutes of preparation fails here."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from heldout.config import difference, load
from heldout.config.code import own_postprocessing
from heldout.errors import UserError
from heldout.tasks.base import Task
from heldout.tasks.create import LONGEST_TITLE
from heldout.tasks.dry_run import check_outputs, random_batch

BATCH = 2


def run_checks(name: str) -> Iterator[tuple[str, str | None]]:
    """Run every check of an experiment: what is checked, and what is wrong, with the remedy, or None.

    The file imports and has a title; budgets, metric and source are valid; it differs from its parent; the network
    builds for its dimensions and gives logits of the right shape, probabilities in 0 ... 1, a finite loss and finite
    gradients for all parameters; augmentation keeps shapes and label values.

    Raises:
        UserError: the experiment cannot be loaded.
    """
    config = load(name)
    if not isinstance(config, Task):
        yield "task", f"{type(config).__name__} does not subclass a task: subclass one of heldout.tasks"
        return
    for what, check in (
        ("title, dataset, source, budgets and metric", _check_words),
        ("difference from its parent", _check_difference),
        ("network, loss and gradients on a random batch", _check_network),
        ("augmentation of images and masks", _check_augment),
    ):
        try:
            check(config)
        except UserError as error:
            yield what, str(error)
        else:
            yield what, None


def _check_words(config: Task) -> None:
    """Title, names and budgets."""
    title = (importlib.import_module(type(config).__module__).__doc__ or "").strip().partition("\n")[0]
    if not title or len(title) > LONGEST_TITLE:
        raise UserError(
            f"begin the file with a docstring whose first line is a title of 1 to {LONGEST_TITLE} letters: it has "
            f"{len(title)}"
        )
    for budget in (None, *config.budgets):
        check_fields(type(config).create(budget, config.overrides))


def check_fields(config: Task, classes: Sequence[str] | None = None) -> None:
    """Refuse what needs no dataset to be wrong: no dataset or source, cases of other dimensions, an unfit metric.

    Args:
        config: The experiment.
        classes: The dataset's classes, where they are known: the metric may be named after one of them.

    Raises:
        UserError: naming the field.
    """
    from heldout.data.sources import source_class
    from heldout.metrics.registry import check_kind, get_ranking_metric

    for field in ("dataset", "source"):
        if not getattr(config, field):
            raise UserError(f"{field} is empty: set it")
    # a source whose dimensions depend on the dataset says so by its option of that name
    dimensions = config.source_options.get("dimensions", source_class(config.source).dimensions)
    if dimensions in (2, 3) and dimensions != config.dimensions:
        raise UserError(
            f"source {config.source!r} has {dimensions}D cases and {config.task_name()} takes {config.dimensions}D: "
            f"subclass the task of {dimensions}D, or set source_options = {{'dimensions': {config.dimensions}}} where "
            "the source has that option"
        )
    metric = get_ranking_metric(config.metric)
    check_kind(metric, config.kind)
    if classes is not None:
        metric.check_classes(classes)


def _check_difference(config: Task) -> None:
    parent = config.parent_name()
    if parent is None or own_postprocessing(type(config)):
        return
    if not difference(config.complete(load(parent).identity()), config.identity()):
        raise UserError(f"it changes nothing of {parent}: set a field or override a method")


def _check_network(config: Task) -> None:
    """Shapes, probabilities, loss and gradients."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        classes, exclusive, loss = _scheme(config)
        model = config.build_model(classes, exclusive)
        config.start_epoch(model, config.epochs - 1)  # what learns at all has been released by then
        image, batch = random_batch(config, classes, exclusive, _size(config, model), BATCH)
        outputs = check_outputs(config, model, image, classes, exclusive)
        probability, (low, high) = config.activate(outputs, exclusive), config.value_range
        if tuple(probability.shape[:2]) != (BATCH, classes) or not bool(
            ((probability >= low) & (probability <= high)).all()
        ):
            raise UserError(f"activate must give {classes} probabilities in {low:g} ... {high:g}")
        value = loss(outputs, batch)
        if value.ndim or not bool(torch.isfinite(value)):
            raise UserError(f"build_loss gives {value.tolist()}: it must be one finite number")
        value.backward()
    for key, parameter in model.named_parameters():
        if parameter.requires_grad and (parameter.grad is None or not bool(torch.isfinite(parameter.grad).all())):
            what = "no gradient: leave it out" if parameter.grad is None else "a gradient that is not finite"
            raise UserError(f"parameter {key} of build_model gets {what}")


def _scheme(config: Task) -> tuple[int, bool, Any]:
    """The first kind of classes that the experiment's loss takes, and the loss."""
    import torch

    counts = (1, 2) if config.class_weights is None else (len(config.class_weights),)
    refusal: UserError | None = None
    for classes, exclusive in [(count, exclusive) for count in counts for exclusive in (False, True)]:
        _, batch = random_batch(config, classes, exclusive, (4,) * config.dimensions, BATCH)
        channels = classes if config.kind != "segmentation" else config.mask_channels(classes, exclusive)
        space = () if config.kind != "segmentation" else (4,) * config.dimensions
        loss = config.task_loss(exclusive)
        try:
            loss({config.output: torch.zeros(BATCH, channels, *space)}, batch)
        except UserError as error:
            refusal = error
        else:
            return classes, exclusive, loss
    raise refusal or UserError("build_loss takes no kind of classes")


def _size(config: Task, model: Any) -> tuple[int, ...]:
    """The smallest image on which normalization layers still have something to average."""
    if getattr(model, "input_size", None) is not None:
        return model.input_size
    multiple = getattr(model, "multiple", None) or ((32,) * 2 if config.dimensions == 2 else (16,) * 3)
    return tuple(max(16, 2 * length) for length in multiple)


def _check_augment(config: Task) -> None:
    """Shapes, label values and finite numbers after augmentation."""
    augment = config.build_augment()
    if augment is None:
        return
    masked = config.kind == "segmentation"
    for image, mask, changed, moved in _augmented(config, augment, masked):
        if changed.shape != image.shape or not np.isfinite(changed).all():
            raise UserError(f"build_augment turns an image of shape {image.shape} into {changed.shape}, or into nan")
        if masked and (moved.shape != mask.shape or not set(np.unique(moved)) <= set(np.unique(mask))):
            raise UserError("build_augment changes the shape of masks or mixes their labels: use nearest neighbors")


def _augmented(config: Task, augment: Any, masked: bool) -> Iterator[tuple[Any, Any, Any, Any]]:
    """Images and masks before and after, several draws of each."""
    random = np.random.default_rng(0)
    if config.dimensions == 2:
        from heldout.tasks.augment.image import augment_sample

        image = random.integers(0, 256, (config.channels, 40, 32), np.uint8)
        if config.normalize == "zscore":
            image = random.standard_normal(image.shape, np.float32)
        mask = random.choice(np.array([0, 2, 5], np.uint8), (1, 40, 32)) if masked else None
        for seed in range(8):
            yield image, mask, *augment_sample(augment, image, mask, seed)
    else:
        import torch

        images = torch.from_numpy(random.random((8, config.channels, 12, 10, 8), np.float32))
        masks = torch.from_numpy(random.choice(np.array([0, 2, 5], np.uint8), (8, 1, 12, 10, 8))) if masked else None
        changed, moved = augment(images, masks, torch.Generator().manual_seed(0))
        yield (
            images.numpy(),
            masks if masks is None else masks.numpy(),
            changed.numpy(),
            moved if moved is None else moved.numpy(),
        )
