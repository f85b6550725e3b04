"""What is written is what is read, whole, once per case, and noticed when its bytes change."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from heldout import files
from heldout.errors import UserError
from heldout.metrics.registry import score
from heldout.predict.prediction import Prediction, presence
from heldout.predict.store import build_table, read_map, read_table, write_predictions

RANDOM = np.random.default_rng(0)
MAPS = {f"00{n}": RANDOM.integers(0, 256, (2, 9, 7 + n)).astype(np.uint8) for n in range(3)}
ROWS = pd.DataFrame(
    {
        "case_id": list(MAPS),
        "patient_id": ["p", "q", "q"],
        "image": "unused",
        "fold": [0, 1, 1],
        "y_lump": [1.0, 0.0, 1.0],
        "y_rim": [0.0, 0.0, 1.0],
    }
)


def predictions(order=("000", "001", "002")):
    return [Prediction(case_id, presence(MAPS[case_id]), MAPS[case_id]) for case_id in order]


def truth(case_id: str) -> np.ndarray:
    return (MAPS[case_id] > 100).astype(np.uint8)


def test_round_trip(tmp_path):
    stored = write_predictions(tmp_path, "oof", iter(predictions()), ROWS, exclusive=False, truth=truth)
    pd.testing.assert_frame_equal(read_table(tmp_path, "oof"), stored.table)
    assert stored.sha256 == files.sha256_file(tmp_path / "oof.parquet")
    assert list(stored.table["case_id"]) == ["000", "001", "002"]
    for case_id, values in MAPS.items():
        np.testing.assert_array_equal(read_map(tmp_path, "oof", case_id, stored.maps[case_id]), values)
        assert stored.maps[case_id] == files.sha256_file(tmp_path / "oof_maps" / f"{case_id}.b2nd")
    assert sorted(path.name for path in tmp_path.rglob("*")) == [
        "000.b2nd",
        "001.b2nd",
        "002.b2nd",
        "oof.parquet",
        "oof_maps",
    ]


def test_writing_twice_gives_the_same_bytes(tmp_path):
    first = write_predictions(tmp_path / "a", "oof", predictions(), ROWS, exclusive=False)
    second = write_predictions(tmp_path / "b", "oof", predictions(), ROWS, exclusive=False)
    assert (first.sha256, first.maps) == (second.sha256, second.maps)


def test_table_counts_voxels_in_the_order_of_the_cases():
    table = build_table(ROWS, predictions(("002", "000", "001")), truth, exclusive=False)
    expected = [column for kind in ("y", "p", "tp", "fp", "fn") for column in (f"{kind}_lump", f"{kind}_rim")]
    assert list(table.columns) == ["case_id", "patient_id", "fold", *expected]
    for row in table.to_dict("records"):
        for channel, label in enumerate(("lump", "rim")):
            values = MAPS[row["case_id"]][channel]
            assert row[f"tp_{label}"] == (values >= 128).sum()
            assert row[f"fp_{label}"] == 0
            assert row[f"fn_{label}"] == ((values > 100) & (values < 128)).sum()
    assert 0 < score("dice_pos", table, ("lump", "rim")) < 1


def test_a_mask_that_is_given_is_counted():
    shipped = (replace(one, mask=(one.map >= 101).astype(np.uint8)) for one in predictions())
    table = build_table(ROWS, shipped, truth, exclusive=False)
    assert table[["fp_lump", "fn_lump", "fp_rim", "fn_rim"]].to_numpy().sum() == 0


def test_classification_has_no_counts_and_no_maps(tmp_path):
    scores = [Prediction(case_id, np.array([0.25, 0.75], np.float32)) for case_id in MAPS]
    stored = write_predictions(tmp_path, "oof", scores, ROWS.drop(columns="fold"), exclusive=True)
    assert list(stored.table.columns) == ["case_id", "patient_id", "y_lump", "y_rim", "p_lump", "p_rim"]
    assert stored.maps == {}
    assert [path.name for path in tmp_path.iterdir()] == ["oof.parquet"]


@pytest.mark.parametrize(
    ("order", "words"),
    [
        (("000", "001"), "case 002 has no prediction"),
        (("000", "001", "001"), "case 001 is predicted twice"),
    ],
)
def test_every_case_once(tmp_path, order, words):
    with pytest.raises(UserError, match=words):
        write_predictions(tmp_path, "oof", predictions(order), ROWS, exclusive=False)
    assert not (tmp_path / "oof.parquet").exists()


def test_a_case_that_does_not_belong_is_named():
    with pytest.raises(UserError, match="case 002 is predicted but not in the table"):
        build_table(ROWS.iloc[:2], predictions(), exclusive=False)


def test_a_mask_of_another_size_is_named():
    with pytest.raises(UserError, match="case 000: its mask has the shape"):
        build_table(ROWS, predictions(), lambda case_id: truth(case_id)[:, :-1], exclusive=False)


@pytest.mark.parametrize("position", [0, 5, 40, -1])
def test_a_flipped_byte_in_a_map_is_noticed(tmp_path, position):
    stored = write_predictions(tmp_path, "oof", predictions(), ROWS, exclusive=False)
    path = tmp_path / "oof_maps" / "001.b2nd"
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"001.b2nd is not the file that was written"):
        read_map(tmp_path, "oof", "001", stored.maps["001"])


def test_a_truncated_map_is_named_even_without_its_hash(tmp_path):
    write_predictions(tmp_path, "oof", predictions(), ROWS, exclusive=False)
    path = tmp_path / "oof_maps" / "001.b2nd"
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(UserError, match=r"001.b2nd is damaged"):
        read_map(tmp_path, "oof", "001")


def test_missing_files_are_named(tmp_path):
    with pytest.raises(UserError, match=r"oof.parquet does not exist"):
        read_table(tmp_path, "oof")
    with pytest.raises(UserError, match=r"a.b2nd does not exist: restore it, or delete"):
        read_map(tmp_path, "oof", "a")
