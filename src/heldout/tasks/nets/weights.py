"""Local files of pretrained weights, and clear words where a network's name or file does not exist."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from pathlib import Path

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


def unknown_encoder(encoder: str, known: Iterable[str]) -> UserError:
    """The complaint about an encoder that the library does not have."""
    close = difflib.get_close_matches(encoder, list(known), n=1)
    hint = f"did you mean {close[0]!r}?" if close else "see the library's list of models"
    return UserError(f"encoder = {encoder!r} does not exist: {hint}")
