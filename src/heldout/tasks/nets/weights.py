"""Local files of pretrained weights, and error messages for unknown encoders and files."""

from __future__ import annotations

import difflib
import logging
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from torch import nn

from heldout.errors import UserError
from heldout.files import dataset_root, home


def weights_file(name: str) -> Path:
    """Path of the file that ``encoder_weights`` names.

    Args:
        name: A bare file name, looked up in ``$HELDOUT_WEIGHTS`` and in ``input/weights/``; a path below the folder of
            datasets; or an absolute path.

    Raises:
        UserError: there is no such file, or it is a run's, which has seen patients that other folds hold out.
    """
    path = Path(name)
    if path.name == name:
        path = _in_weight_folders(name)
    elif not path.is_absolute():
        folder, *rest = path.parts
        path = dataset_root(folder).joinpath(*rest)
    if not path.is_file():
        raise UserError(
            f"encoder_weights = {name!r}: {path} does not exist; download it, or set encoder_weights = None"
        )
    if path.resolve().is_relative_to((home() / "working").resolve()):
        raise UserError(
            f"encoder_weights = {name!r} are of a run, which may have seen the patients held out here: name its "
            "experiment as warm_start, which takes the same fold and seed"
        )
    return path


def _in_weight_folders(name: str) -> Path:
    """The first folder of weights that holds the file.

    Raises:
        UserError: none does.
    """
    folders = [home() / "input" / "weights"]
    if "HELDOUT_WEIGHTS" in os.environ:
        folders.insert(0, Path(os.environ["HELDOUT_WEIGHTS"]).resolve())
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    raise UserError(
        f"encoder_weights = {name!r} is not in {' or '.join(map(str, folders))}: put the file there, set "
        "HELDOUT_WEIGHTS to the folder that holds it, or set encoder_weights = None"
    )


def copy_pretrained(module: nn.Module, weights: str, encoder: str, create: Callable[..., nn.Module]) -> None:
    """Fill an encoder from a file that the library of the encoder reads, made for any number of channels.

    Args:
        module: The encoder, and perhaps a last layer, which is left alone.
        weights: The file, as the field ``encoder_weights`` names it.
        encoder: Name of the encoder.
        create: Makes the encoder: at random, or with ``pretrained=True, pretrained_cfg_overlay={"file": path}`` filled
            from the file, as timm does.

    Raises:
        UserError: the file does not exist or does not belong to the encoder.
    """
    path = weights_file(weights)
    logging.getLogger("timm.models._builder").setLevel(logging.ERROR)  # the classifier of the file has no use here
    start = torch.random.get_rng_state()
    random = create().state_dict()
    torch.random.set_rng_state(start)
    reason = ""
    try:
        filled = create(pretrained=True, pretrained_cfg_overlay={"file": str(path)}).state_dict()
        # timm renames and adapts keys as it loads, and passes over those that a file lacks: these stay as drawn
        missing = [key for key, value in filled.items() if value.ndim > 1 and torch.equal(value, random[key])]
        reason = f"{missing[0]} is not in it" if missing else ""
    except (RuntimeError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0]
    if reason:
        raise UserError(f"{path} does not hold weights of {encoder} ({reason}): name another file")
    module.load_state_dict(filled, strict=False)


def unknown_encoder(encoder: str, known: Iterable[str]) -> UserError:
    """The complaint about an encoder that the library does not have, with the nearest name, with or without ``tu-``."""
    names, name = list(known), encoder.partition(".")[0]
    other = {name.removeprefix("tu-"), f"tu-{name}"}.intersection(names)
    close = sorted(other) or difflib.get_close_matches(encoder, names, n=1)
    hint = f"did you mean {close[0]!r}?" if close else "see the library's list of models"
    return UserError(f"encoder = {encoder!r} does not exist: {hint}")
