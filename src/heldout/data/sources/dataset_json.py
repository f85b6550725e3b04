"""What ``dataset.json`` says of labels, as the Decathlon, nnU-Net v1 and v2 write it; and ``splits_final.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from heldout.errors import UserError
from heldout.records import read_json

IGNORE = "ignore"  # nnU-Net's name for voxels without loss and score
BACKGROUND = "background"
_LARGEST = 255


def label_values(labels: Mapping[str, Any], path: Path) -> dict[str, int | list[int]]:
    """Value of every label by its name, background included; a list of values for a region.

    Args:
        labels: Value to name (Decathlon, nnU-Net v1), or name to value or values (nnU-Net v2).
        path: The file, for messages.

    Raises:
        UserError: a name occurs twice, or a value is not a whole number from 0 to 255.
    """
    by_value = all(isinstance(name, str) for name in labels.values()) and all(map(_is_whole, labels))
    pairs = [(name, value) for value, name in labels.items()] if by_value else list(labels.items())
    found: dict[str, int | list[int]] = {}
    for name, value in pairs:
        if name in found:
            raise UserError(f"{path} calls two labels {name!r}: give each a name of its own")
        if name == IGNORE and isinstance(value, list) and len(value) == 1:
            value = value[0]
        if name == IGNORE and isinstance(value, list):
            raise UserError(f"{path} gives {IGNORE!r} the labels {value}: give it one label of its own")
        found[name] = (
            [_value(name, one, path) for one in value] if isinstance(value, list) else _value(name, value, path)
        )
    if found.get(BACKGROUND, 0) != 0:
        raise UserError(f"{path} gives {BACKGROUND!r} the label {found[BACKGROUND]}: background is 0, in the masks too")
    return found


def class_values(labels: Mapping[str, int | list[int]], path: Path) -> dict[str, list[int]]:
    """Values of every class: labels in the order of their values; in the file's order where there are regions.

    Raises:
        UserError: two labels share a value, or a region is empty or holds the background.
    """
    plain = {name: value for name, value in labels.items() if not isinstance(value, list)}
    for name, value in plain.items():
        first = next(other for other in plain if plain[other] == value)
        if first != name:
            raise UserError(f"{path} gives {first!r} and {name!r} the same label {value}: renumber one of them")
    classes = {name: value if isinstance(value, list) else [value] for name, value in labels.items()}
    if IGNORE in plain:
        del classes[IGNORE]
    classes = {name: region for name, region in classes.items() if region != [0]}
    for name, region in classes.items():
        if not region or 0 in region:
            raise UserError(f"{path} has the region {name!r} with the labels {region}: list labels above 0")
    return classes if len(plain) < len(labels) else dict(sorted(classes.items(), key=lambda item: item[1]))


def check_class_order(order: Any, classes: Sequence[str], path: Path) -> None:
    """Check ``regions_class_order``, the labels by which nnU-Net writes regions into one map.

    Raises:
        UserError: there is not one label for each region.
    """
    whole = isinstance(order, list) and all(type(value) is int and 0 < value <= _LARGEST for value in order)
    if not whole or len(order) != len(classes):
        raise UserError(
            f"{path} has regions_class_order = {order} for the regions {', '.join(classes)}: list one label above 0 "
            f"for each, in their order"
        )


def read_splits(path: Path, ids: Mapping[str, str]) -> dict[str, int]:
    """Fold of every case by ``splits_final.json``: the one whose validation part it is in.

    Args:
        path: The file, which names cases without the ending of their files.
        ids: Case id of every such name.

    Raises:
        UserError: it cannot be read, names other cases, or does not hold every case once.
    """
    remedy = "copy it from nnU-Net, or leave splits out of source_options"
    stored, found = read_json(path, remedy), dict[str, int]()
    try:
        parts = [list(map(str, part["val"])) for part in stored]
    except (TypeError, KeyError):
        raise UserError(f'{path} is not a list of folds with the names of their "val" cases: {remedy}') from None
    for number, names in enumerate(parts):
        for name in names:
            case_id = ids.get(name)
            if case_id is None or case_id in found:
                what = "is not a training case" if case_id is None else "is in two of its folds"
                raise UserError(f"{path}: {name} {what}: correct it, or leave splits out of source_options")
            found[case_id] = number
    lacking = sorted(set(ids.values()) - set(found))
    if lacking:
        raise UserError(f"{path} lacks case {lacking[0]}: add it, or leave splits out of source_options")
    return found


def _value(name: str, value: Any, path: Path) -> int:
    if not _is_whole(value):
        raise UserError(f"{path} gives {name!r} the label {value!r}: write a whole number from 0 to {_LARGEST}")
    if not 0 <= float(value) <= _LARGEST:
        raise UserError(
            f"{path} gives {name!r} the label {value}, but labels go from 0 to {_LARGEST}: renumber it there and in "
            f"the masks"
        )
    return int(float(value))


def _is_whole(value: Any) -> bool:
    try:
        return not isinstance(value, bool) and float(value).is_integer()
    except (TypeError, ValueError, OverflowError):
        return False
