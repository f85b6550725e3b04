"""The fake gateway: what it hands over, and what it does not put up with."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pandas as pd
import pydicom
import pytest

from heldout.data.sources.phantom_aneurysm import PhantomAneurysm
from heldout.deliver.kernel.rsna2025 import stand_in
from heldout.deliver.kernel.rsna2025.hidden_set import EMPTY, KEPT_TAGS, TRUNCATED, hide_tags, write_hidden_set
from heldout.deliver.kernel.rsna2025.server import clear
from heldout.deliver.kernel.rsna2025.stand_in import GatewayError, RSNAInferenceServer

COLUMNS = ["left", "right"]


@pytest.fixture
def gateway(tmp_path, monkeypatch):
    """Six series of one file each, whose gateway shares them below ``shared``."""
    shared = tmp_path / "shared"
    for number in range(6):
        (tmp_path / "series" / str(number)).mkdir(parents=True)
        (tmp_path / "series" / str(number) / "one.dcm").write_text(str(number))
    (tmp_path / "test.csv").write_text("SeriesInstanceUID\n" + "\n".join(map(str, range(6))) + "\n")
    limits = {"seconds_per_call": 0.5, "seconds_to_start": 1e9, "shared": str(shared), "columns": COLUMNS}
    (tmp_path / "limits.json").write_text(json.dumps(limits))
    monkeypatch.setattr(stand_in, "HERE", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(gateway, answer):
    def predict(series_path):
        frame = answer(Path(series_path))
        clear(gateway / "shared")
        return frame

    RSNAInferenceServer(predict).run_local_gateway((gateway / "test.csv", gateway / "series"))


def row(left=0.25, right=0.5) -> pd.DataFrame:
    return pd.DataFrame([[left, right]], columns=COLUMNS)


def test_series_come_shuffled_by_their_full_path_and_answers_are_kept(gateway):
    seen, threads = [], set()

    def answer(folder):
        assert folder == gateway / "shared" / (gateway / "series" / folder.name).relative_to("/")
        seen.append((folder / "one.dcm").read_text())
        threads.add(threading.get_ident())
        return row(left=int(folder.name) / 10)

    orders = set()
    for _ in range(4):
        seen.clear()
        run(gateway, answer)
        assert sorted(seen) == list("012345")
        orders.add(tuple(seen))
    assert len(orders) > 1
    assert threading.get_ident() not in threads
    table = pd.read_parquet(gateway / "submission.parquet").set_index("SeriesInstanceUID")
    assert table.loc["3"].tolist() == [0.3, 0.5]


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (None, "NoneType instead of a data frame"),
        (pd.concat([row(), row()]), "2 rows instead of one"),
        (row().assign(id="x"), "other columns than asked for: id"),
        (row()[["right", "left"]], "other columns than asked for: their order"),
        (row(left=float("nan")), "got nan for left"),
        (row(right=1.5), r"got 1\.5 for right"),
    ],
)
def test_an_answer_that_is_no_row_of_probabilities_is_refused(gateway, frame, message):
    with pytest.raises(GatewayError, match=message):
        run(gateway, lambda _: frame)


def test_an_answer_that_takes_too_long_is_refused_but_the_first_may_take_longer(gateway):
    calls = []

    def slow_first(folder):
        calls.append(folder)
        time.sleep(0.7 if len(calls) == 1 else 0)
        return row()

    run(gateway, slow_first)
    with pytest.raises(GatewayError, match=r"no answer for \d within 0\.5 s"):
        run(gateway, lambda _: time.sleep(0.7) or row())


def test_a_server_that_starts_late_leaves_files_or_has_no_predict_is_refused(gateway):
    with pytest.raises(GatewayError, match=r"left one\.dcm in the shared folder"):
        RSNAInferenceServer(_predict_and_leave()).run_local_gateway((gateway / "test.csv", gateway / "series"))
    limits = json.loads((gateway / "limits.json").read_text())
    (gateway / "limits.json").write_text(json.dumps({**limits, "seconds_to_start": -1}))
    with pytest.raises(GatewayError, match="load the networks in the first call"):
        run(gateway, lambda _: row())
    with pytest.raises(GatewayError, match="must be named predict"):
        RSNAInferenceServer(print)


def test_serving_is_for_the_scored_run(gateway, monkeypatch):
    server = RSNAInferenceServer(_predict_and_leave())
    with pytest.raises(GatewayError, match="run_local_gateway"):
        server.serve()


def _predict_and_leave():
    def predict(series_path):
        return row()

    return predict


def test_a_hidden_set_keeps_pixels_and_allowed_tags_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("HELDOUT_HOME", str(tmp_path))
    root = PhantomAneurysm.locate("p", {"patients": 4, "size": 16, "slices": 8})
    series = {place.name: place for place in sorted((root / "series").iterdir())}
    write_hidden_set(series, tmp_path / "cases", tmp_path / "shared")
    package = tmp_path / "cases" / "kaggle_evaluation"
    listed = pd.read_csv(package / "test.csv", dtype=str)["SeriesInstanceUID"].tolist()
    assert listed == [*series, TRUNCATED, EMPTY]
    assert not list((package / "series" / EMPTY).iterdir())
    name, place = next(iter(series.items()))
    for path in place.iterdir():
        before, after = pydicom.dcmread(path), pydicom.dcmread(package / "series" / name / path.name)
        assert {element.keyword for element in after} <= set(KEPT_TAGS)
        assert "ImageType" in before
        assert after.PixelData == before.PixelData
    sizes = [path.stat().st_size for path in sorted((package / "series" / TRUNCATED).iterdir())]
    assert sizes[0] < min(sizes[1:])


def test_a_file_that_is_no_dicom_is_handed_over_as_it_is(tmp_path):
    (tmp_path / "odd.dcm").write_bytes(b"nothing")
    assert hide_tags(tmp_path / "odd.dcm", tmp_path / "copy").read_bytes() == b"nothing"
