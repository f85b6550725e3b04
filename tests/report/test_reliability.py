"""A blend that calibrates leaves a reliability diagram in its folder."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pandas as pd

from heldout.blend.decision import Decision
from heldout.blend.records import Calibration, SearchRecord
from heldout.report.charts import write_reliability

SVG = "{http://www.w3.org/2000/svg}"


def decision(home, calibration, tables):
    frame = pd.DataFrame({"case_id": [f"case{i}" for i in range(200)]})
    random = np.random.default_rng(0)
    for name in ("a", "b"):
        frame[f"uncalibrated_{name}"] = random.random(200)
        frame[f"p_{name}"] = 0.5 + (frame[f"uncalibrated_{name}"] - 0.5) / 2
        frame[f"y_{name}"] = (random.random(200) < frame[f"p_{name}"]).astype(float)
    folder = home / "working" / "blends" / "duo"
    folder.mkdir(parents=True, exist_ok=True)
    for name in tables:
        frame.to_parquet(folder / f"{name}.parquet")
    return Decision(
        name="duo",
        kind="classification",
        classes=("a", "b"),
        exclusive=False,
        metric="roc_auc",
        members=[],
        thresholds={},
        folds=[0, 1],
        dataset="bones",
        fold_hash="",
        data_hash="",
        calibration=calibration,
        search=SearchRecord(trials=1),
        tables=dict.fromkeys(tables, ""),
    )


def test_the_diagram_shows_both_tables_and_every_class(home):
    widths = []
    for tables in (("in_sample",), ("in_sample", "oof")):
        path = write_reliability(decision(home, Calibration(method="platt"), tables))
        assert path == home / "working" / "blends" / "duo" / "reliability.svg"
        chart = ElementTree.fromstring(path.read_text())
        widths.append(int(chart.get("width")))
        said = [one.text for one in chart.iter(f"{SVG}text")]
        assert said.count("b before calibration") == said.count("b") == len(tables)
        assert len(chart.findall(f"{SVG}svg")) == len(tables)
    assert widths[1] == 2 * widths[0]


def test_without_calibration_there_is_none(home):
    assert write_reliability(decision(home, Calibration(), ("in_sample",))) is None
    assert not (home / "working" / "blends" / "duo" / "reliability.svg").exists()
