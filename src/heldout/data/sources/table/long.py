"""Tables in long format, with a row per case and class, made wide: a row per case and a column per class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from heldout.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

SEPARATOR = "_"  # of case and class in an id, as in sample submissions


def widened(frame: pd.DataFrame, key: str, value: str, kind: str, classes: Sequence[str], path: Path) -> pd.DataFrame:
    """The table with a row per case, and a column per class beside those that say the same in all rows of a case.

    Args:
        frame: The table as text.
        key: Column of the ids: of cases where there is a column of classes, else ``<case>_<class>``.
        value: Column of the labels.
        kind: Column of the classes, or "".
        classes: Their names; none takes those that occur.
        path: The table's file, for messages.

    Raises:
        UserError: an id names no class, or two rows of a case and class differ.
    """
    import numpy as np
    import pandas as pd

    texts = frame[key].str.strip()
    if kind:
        cases, kinds = texts, frame[kind].str.strip()
    else:
        cases, kinds = split_ids(texts, classes)
        if (odd := (cases == "") | (kinds == "")).any():
            named = f" of {', '.join(classes)}" if classes else ""
            raise UserError(
                f"{path} has {key} = {texts[odd].iloc[0]!r}, which is not <case>{SEPARATOR}<class>{named}: correct "
                f"source_options long, or name all classes in labels"
            )
    names = list(classes) or list(dict.fromkeys(kinds))
    places = pd.Categorical(kinds, names).codes
    if (places < 0).any():
        raise UserError(f"{path} has the class {kinds[places < 0].iloc[0]!r}: name it in source_options labels")
    rows, values = pd.factorize(cases)[0], frame[value].str.strip().to_numpy(object)
    cells = np.full((rows.max() + 1, len(names)), "", object)
    cells[rows, places] = values
    if (other := cells[rows, places] != values).any():
        place = int(other.argmax())
        shown = f"{values[place]!r} and {cells[rows[place], places[place]]!r}"
        raise UserError(
            f"{path} has {value} {shown} for the class {kinds.iloc[place]} of {cases.iloc[place]}: keep one row"
        )
    about = frame.drop(columns=[name for name in (value, kind) if name]).assign(**{key: cases})
    same = [name for name in about.columns if name == key or (about.groupby(key)[name].nunique() == 1).all()]
    wide = about[same].drop_duplicates(key, ignore_index=True)
    return wide.assign(**{name: cells[:, number] for number, name in enumerate(names)})


def split_ids(texts: pd.Series, classes: Sequence[str]) -> tuple[pd.Series, pd.Series]:
    """Case and class of ids ``<case>_<class>``, both "" where an id has none of the classes.

    Args:
        texts: The ids.
        classes: Names of the classes; without them what follows the last separator is one.

    Example:
        >>> import pandas as pd
        >>> [list(part) for part in split_ids(pd.Series(["4003253_foramen_l1_l2", "12"]), ["l1_l2", "foramen_l1_l2"])]
        [['4003253', ''], ['foramen_l1_l2', '']]
    """
    if not classes:
        parts = texts.str.rpartition(SEPARATOR)
        return parts[0], parts[2].where(parts[0] != "", "")
    cases, kinds = texts.where(texts == "", ""), texts.where(texts == "", "")
    for name in sorted(classes, key=len):  # the longest that fits is the class
        own = texts.str.endswith(SEPARATOR + name)
        cases = cases.mask(own, texts.str.slice(stop=-len(name) - len(SEPARATOR)))
        kinds = kinds.mask(own, name)
    return cases, kinds
