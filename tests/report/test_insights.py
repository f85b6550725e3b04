"""A full run over finished fits, and what its networks say of themselves, on few and small phantoms."""

from __future__ import annotations

import csv
import json
import re
import shutil
from xml.etree import ElementTree

import pandas as pd
import pytest

from exps import full_runs
from heldout.blend.decision import read_decision
from heldout.cli import run
from heldout.cli.full import loading_processes
from heldout.config import load
from heldout.evaluate.uncertainty import ALL, METHODS, WITH, WITHOUT
from heldout.train import runs

OPTIONS = "source_options={'patients':40,'images_per_patient':1,'size':32}"
SPEC = f"exp004+dataset=tiny,dropout=0.3,epochs=1,seeds=(0,1),{OPTIONS}"
MASKS = "exp001+dataset=tiny2,epochs=1,seeds=(0,),tta=,source_options={'patients':14,'size':48}"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A home with both seeds and folds of a classification, trained trained once."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HELDOUT_HOME", str(home))
        patch.delenv("HELDOUT_DATA", raising=False)
        assert run(["train", SPEC]) == 0
        yield home


@pytest.fixture
def at_home(trained, monkeypatch):
    monkeypatch.setenv("HELDOUT_HOME", str(trained))
    monkeypatch.delenv("HELDOUT_DATA", raising=False)
    return trained


def test_loading_processes_are_no_part_of_a_run(at_home):
    assert [path.name for path in runs.run_folders()] == [SPEC]
    assert runs.finished(load(SPEC))[0][:2] == (0, 0)
    assert 1 <= loading_processes() <= 16


def test_a_full_run_ends_in_one_sealed_decision(at_home, monkeypatch, capsys):
    monkeypatch.setattr(full_runs, "MINUTES", {"tiny": {SPEC: 1}, "others": {"exp004": 90}})
    monkeypatch.setattr(full_runs, "BLENDS", {"tiny": ("--sampler", "equal")})
    assert run(["full", "tiny", "--download"]) == 0
    out = capsys.readouterr().out
    assert [
        re.sub(r" \(\d+ s\)", "", line) for line in out.splitlines() if line.startswith(("[1]", "[2]", "[3]", "exp"))
    ] == [
        "[1] download: tiny is here",
        "[2] folds: tiny: 44 cases in 2 folds",
        f"{SPEC}: finished",
        "[3] train: 4 of 4 fits are finished, 0 of them now",
    ]
    assert "[4] blend: roc_auc" in out
    assert "[6] report: Wrote " in out
    sealed = read_decision("tiny")
    assert sealed.seal is not None
    assert run(["full", "tiny", "--test"]) == 0
    assert "[4] test: tiny: test " in (out := capsys.readouterr().out)
    assert "[3] blend: tiny is sealed already" in out
    assert "Wrote the sealed decision tiny" in out
    assert run(["full", "tiny", "--test"]) == 0
    assert "[4] test: evaluated before, 1 times: not repeated" in capsys.readouterr().out
    assert read_decision("tiny") == sealed
    assert run(["full", "exp004", "--serve"]) == 2
    assert "--serve serves a sealed decision: add --name NAME" in capsys.readouterr().err
    assert run(["full", "exp004", "--test"]) == 2
    assert "add --name NAME, under which the experiments are blended" in capsys.readouterr().err


def test_a_full_run_tells_its_time_beforehand(at_home, monkeypatch, capsys):
    monkeypatch.setattr(full_runs, "MINUTES", {"others": {"exp004": 90}})
    assert run(["full", "others", "--minutes", "0"]) == 0
    out = capsys.readouterr().out
    left = len(load("exp004").seeds) * load("exp004").fold_count
    assert f"exp004: {left} fits left, of about 90 minutes of training (on two cores, as listed)" in out
    assert f"together about {left * 1.5:.1f} hours" in out


def test_uncertainty_says_of_every_case_and_method_how_unsure_it_is(at_home, capsys):
    assert run(["uncertainty", SPEC, "--passes", "3"]) == 0
    text = capsys.readouterr().out
    assert "AUROC of finding errors" in text
    folder = at_home / "working" / "uncertainty" / SPEC
    table = pd.read_csv(folder / "cases.csv")
    cases = runs.finished(load(SPEC))
    assert set(table["method"]) == {"dropout", "seeds"} | ({"flips"} if load(SPEC).tta else set())
    assert set(table["method"]) <= set(METHODS)
    assert table.groupby("method")["case_id"].nunique().nunique() == 1
    assert (table["entropy"] - table["aleatoric"] - table["epistemic"]).abs().max() < 1e-5
    assert set(table["fold"]) == {fold for _, fold, _ in cases}
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["oracle_aurc"] <= summary["mean_risk"]
    strata = {row.get("stratum", ALL) for row in summary["rows"]}
    assert strata in ({ALL}, {ALL, WITH, WITHOUT})
    for row in summary["rows"]:
        chosen = table if row.get("stratum", ALL) == ALL else table[table["stratum"] == row["stratum"]]
        assert row["cases"] == chosen["case_id"].nunique()
    assert set(table["loss"]) <= {0.0, 0.5, 1.0}  # the share of two labels that is wrong
    chart = ElementTree.fromstring((folder / "risk_coverage.svg").read_text())
    legend = {one.text for one in chart.iter("{http://www.w3.org/2000/svg}text")}
    assert {"oracle", "random ranking"} < legend
    assert run(["results"]) == 0
    results = (at_home / "RESULTS.md").read_text()
    assert "`python run.py uncertainty NAME`" in results
    assert "dropout left on" not in results  # the command itself shows the table


def test_explanations_are_drawn_and_an_unknown_case_is_refused(at_home, capsys):
    assert run(["explain", SPEC]) == 0
    assert (at_home / "working" / "figures" / f"{SPEC}-gradcam.png").stat().st_size > 5000
    assert run(["explain", SPEC, "--case", "nobody"]) == 2
    assert "no out-of-fold prediction of case 'nobody': choose a case of the train part" in capsys.readouterr().err


def test_a_profile_has_a_row_per_batch_flips_and_precision(at_home, capsys):
    assert run(["profile", SPEC, "--repeats", "3", "--seconds", "0", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    rows, config = record["rows"], load(SPEC)
    assert {(row["batch"], row["tta"], row["precision"]) for row in rows} == {
        (batch, tta, precision)
        for batch in (1, config.predict_batch_size)
        for tta in {"", config.tta}
        for precision in ("float32", "bfloat16")
    }
    assert all(row["parameters"] == runs.read_run(runs.fit_folder(SPEC, 0, 0)).parameters for row in rows)
    assert all(0 < row["ms_per_case_median"] <= row["ms_per_case_p95"] for row in rows)
    assert list((at_home / "working" / "profiles").glob("*.json"))


def test_operations_are_two_per_multiplication():
    import torch
    from torch import nn

    from heldout.evaluate.profile import count_flops

    assert count_flops(nn.Conv2d(3, 8, 3, padding=1), torch.zeros(1, 3, 10, 12)) == 2 * 8 * 3 * 9 * 10 * 12


def test_predict_writes_uncertainty_columns_and_a_map_per_case(home, monkeypatch, tmp_path):
    monkeypatch.delenv("HELDOUT_DATA", raising=False)
    assert run([MASKS]) == 0
    folder, output = tmp_path / "new", tmp_path / "out"
    folder.mkdir()
    pictures = sorted((home / "input" / "tiny2" / "submit").rglob("*.png"))[:2]
    for number, picture in enumerate(pictures):
        shutil.copy(picture, folder / f"{number}.png")
    assert run(["predict", MASKS, "--input", str(folder), "--output", str(output), "--uncertainty"]) == 0
    with open(output / "predictions.csv", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert [row["name"] for row in rows] == ["0.png", "1.png"]
    for row in rows:
        entropy, aleatoric, epistemic = (float(row[name]) for name in ("entropy", "aleatoric", "epistemic"))
        assert entropy == pytest.approx(aleatoric + epistemic, abs=2e-6)
        assert epistemic > 0
    assert {"0_uncertainty.png", "1_uncertainty.png"} <= {path.name for path in output.iterdir()}
