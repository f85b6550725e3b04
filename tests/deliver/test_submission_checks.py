"""A submission file that was edited or damaged is refused, by row, with what to do."""

from __future__ import annotations

import pandas as pd
import pytest

from heldout.deliver.submission.form import check, read_submission
from heldout.errors import UserError

EXPECTED = pd.DataFrame({"id": ["a", "b"], "rle": ["", ""]})
SIZES = {"a": (4, 4), "b": (2, 3)}


def masks(*texts: str) -> pd.DataFrame:
    return pd.DataFrame({"id": ["a", "b"], "rle": texts})


def test_masks_that_can_be_decoded_pass():
    check(masks("1 3 16 1", ""), EXPECTED, "rle", SIZES)
    check(masks("-1", "6 1"), EXPECTED, "rle", SIZES)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("1 3 5", "pairs"),
        ("1 3 2 2", "overlapping"),
        ("6 2", "leaves an image of 2 x 3"),
        ("0 1", "count from 1"),
        ("1 0", "empty or overlapping"),
        ("1 x", "not a whole number"),
        ("1.0 2", "not a whole number"),
        ("nan", "not a whole number"),
        ("3 1 1 1", "overlapping"),
        ("1 1 2 1", "fewer or tidier runs"),
        ("99999999999999999999 1", "leaves"),
        ("9" * 5000 + " 1", "leaves"),
    ],
)
def test_an_edited_mask_is_named_with_its_row_and_the_remedy(text, problem):
    with pytest.raises(UserError, match=rf"sub\.csv row 3, id 'b', column rle: .*{problem}.*; write it again") as error:
        check(masks("", text), EXPECTED, "rle", SIZES, "sub.csv")
    assert "\n" not in str(error.value)


def test_masks_of_unknown_size_are_still_read():
    check(masks("1 3", "900 3"), EXPECTED, "rle")
    with pytest.raises(UserError, match=r"row 2.*pairs"):
        check(masks("1", ""), EXPECTED, "rle")


@pytest.mark.parametrize("value", ["", "nan", "inf", "1.01", "-0.001", "half", "0_1", "\u0661"])
def test_a_text_that_is_no_probability_is_named(value):
    table = pd.DataFrame({"id": ["a", "b"], "p": ["0.5", value]})
    with pytest.raises(UserError, match="row 3, id 'b', column p"):
        check(table, pd.DataFrame({"id": ["a", "b"], "p": ["0", "0"]}), "csv")


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (["a", "a"], "row 3 repeats id 'a'"),
        (["a"], r"lacks id 'b' \(1 in all\)"),
        (["a", "b", "c"], "has id 'c', which the sample does not ask for"),
        (["b", "a"], "row 2: the order of the ids differs"),
    ],
)
def test_missing_strange_repeated_and_disordered_ids_are_told_apart(ids, message):
    with pytest.raises(UserError, match=message):
        check(pd.DataFrame({"id": ids, "rle": [""] * len(ids)}), EXPECTED, "rle", SIZES)


def test_a_file_that_is_missing_or_no_table_is_named(tmp_path):
    with pytest.raises(UserError, match=r"sub\.csv does not exist"):
        read_submission(str(tmp_path / "sub.csv"), "sub.csv")
    for source in (str(tmp_path), "/dev/zero"):  # a device may never end
        with pytest.raises(UserError, match=rf"{source} is not a regular file: name the CSV file"):
            read_submission(source, "sub.csv")
    (tmp_path / "sub.csv").write_bytes(b"")
    with pytest.raises(UserError, match=r"sub\.csv is not a CSV table"):
        read_submission(str(tmp_path / "sub.csv"), "sub.csv")
