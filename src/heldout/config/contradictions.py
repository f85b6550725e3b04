"""Fields of an experiment that contradict each other, or hold values that none of their types excludes."""

from __future__ import annotations

import math
from typing import Any

from heldout.config.space import check_space

LARGEST_SCALE = 4.0
LARGEST_CASE = 2**29  # values of a prepared case or patch: 2 GiB as float32


def check_fields(config: Any) -> None:  # a BaseConfig, which imports this
    """Refuse an experiment whose fields contradict each other.

    Raises:
        ValueError: two fields, or a field and its value, do not fit; names them and the remedy.
    """
    if config.checkpoint == "best" and config.validate_every is None:
        raise ValueError("checkpoint = 'best' needs validate_every")
    if config.early_stopping is not None and config.validate_every is None:
        raise ValueError("early_stopping needs validate_every")
    if config.early_stopping is not None and config.checkpoint != "best":
        raise ValueError("early_stopping stops by the fold's own score: mark that with checkpoint = 'best'")
    if config.folds is not None and not set(config.folds) <= set(range(config.fold_count)):
        raise ValueError(f"folds = {config.folds} lie outside 0 ... {config.fold_count - 1}")
    if config.extra and config.first_stage is not None:
        raise ValueError("extra cannot be used with first_stage, which has no maps of other datasets")
    if config.folds_file and (config.fold_by or config.stratify):
        raise ValueError("folds_file gives the folds: leave out fold_by and stratify")
    if config.fold_by and config.stratify:
        raise ValueError("fold_by gives the folds: leave out stratify")
    if config.accept_leaks and not config.folds_file:
        raise ValueError("accept_leaks is about a folds_file: leave it out")
    if not 0 <= config.percentiles[0] < config.percentiles[1] <= 100:
        raise ValueError(f"percentiles = {config.percentiles} must be ascending and within 0 ... 100")
    if config.first_stage is not None and config.first_stage_use == "crop" and config.crop != "none":
        raise ValueError(f"crop = {config.crop!r} and first_stage_use = 'crop' both cut: set crop = 'none'")
    if config.hard_negative_fraction and config.positive_fraction is None:
        raise ValueError("hard_negative_fraction needs positive_fraction, which says how many samples are negative")
    if config.hard_negative_fraction and config.mine_every >= config.epochs:
        raise ValueError(f"mine_every = {config.mine_every} comes too late for epochs = {config.epochs}: lower it")
    check_space(config.search_space, type(config).model_fields)
    if config.pseudo_labels is not None and config.first_stage is not None:
        raise ValueError("pseudo_labels cannot be used with first_stage, which has no maps of unlabeled cases")
    if len(set(config.seeds)) != len(config.seeds):
        raise ValueError(f"seeds = {config.seeds} repeat a seed")
    if config.windows and (config.normalize != "window" or config.channels != len(config.windows)):
        raise ValueError(
            f"windows become the image's channels: {len(config.windows)} windows need normalize = 'window' and "
            f"channels = {len(config.windows)}, not {config.normalize!r} and {config.channels}"
        )
    if any(width <= 0 for _, width in (config.window, *config.windows)):
        raise ValueError(f"window = {config.window}, windows = {config.windows} hold a width that is not positive")
    for name in ("image_size", "patch_size"):
        size, dimensions = getattr(config, name), getattr(type(config), "dimensions", None)
        if size is not None and dimensions is not None and (len(size) != dimensions or min(size) < 1):
            raise ValueError(f"{name} = {size} needs {dimensions} positive numbers")
        if size is not None and math.prod(size) > LARGEST_CASE:
            raise ValueError(f"{name} = {size} has more than the {LARGEST_CASE} values allowed: lower it")
    if not set(config.tta) <= set(config.view_axes) or len(set(config.tta)) != len(config.tta):
        raise ValueError(f"tta = {config.tta!r} may hold each of {config.view_axes!r} once")
    if any(not 0 < factor <= LARGEST_SCALE for factor in config.tta_scales):
        raise ValueError(f"tta_scales = {config.tta_scales} must lie between 0 and {LARGEST_SCALE:g}")
    if config.schedule == "plateau" and config.validate_every is not None and config.checkpoint != "best":
        raise ValueError(
            "schedule = 'plateau' with validate_every looks at the fold's own score: mark that with checkpoint = "
            "'best', or set validate_every = None, so that it looks at the training loss"
        )
