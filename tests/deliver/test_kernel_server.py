"""A kernel that answers series by series: equal to the local prediction under the fake gateway, and robust."""

from __future__ import annotations

import json
import shutil
import sys

import numpy as np
import pandas as pd
import pytest

from heldout.cli import run
from heldout.deliver.kernel.bundle import read_bundle
from heldout.deliver.kernel.notebook import slug_of
from heldout.deliver.kernel.replay import replay
from heldout.deliver.kernel.rsna2025.server import COLUMNS, SeriesServer
from heldout.errors import UserError
from tests.data import dicom_toy

pytestmark = pytest.mark.journey

SPEC = "exp052+dataset=tiny,epochs=1,folds=(0,),source_options={'patients':40,'size':16,'slices':8},steps_per_epoch=1"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home with a trained network and its kernel."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HELDOUT_HOME", str(folder))
        patch.setenv("PIP_NO_INDEX", "1")  # no test asks the network
        assert run([SPEC]) == 0
        assert run(["kernel", SPEC, "--user", "ada", "--competition", "aneurysms", "--cases", "500"]) == 0
        yield folder


@pytest.fixture
def bundle(home):
    return home / "kaggle_kernels" / SPEC / "dataset"


@pytest.fixture
def series(home):
    return sorted((home / "input" / "tiny" / "series").iterdir())


@pytest.fixture
def serve(bundle, tmp_path, monkeypatch):
    """A server in this process; what it changes for it is put back."""
    monkeypatch.setenv("HELDOUT_HOME", str(bundle))
    monkeypatch.setattr(sys, "path", list(sys.path))
    return lambda **options: SeriesServer(bundle, tmp_path / "working", tmp_path / "shared", **options)


def test_the_source_chooses_the_server_and_the_notebook_starts_it(home):
    folder = home / "kaggle_kernels" / SPEC / "notebook"
    script = (folder / f"{slug_of(SPEC)}.py").read_text()
    assert "RSNAInferenceServer(predict)" in script
    assert "cases=500" in script
    notebook = json.loads((folder / f"{slug_of(SPEC)}.ipynb").read_text())
    assert "\n".join("".join(cell["source"]) for cell in notebook["cells"]).split() == script.split()


def test_an_answer_is_one_row_in_the_columns_of_the_competition_and_the_shared_folder_is_emptied(
    serve, series, tmp_path
):
    shutil.copytree(series[0], tmp_path / "shared" / "deep" / series[0].name)
    server = serve()
    frame = server.predict(str(tmp_path / "shared" / "deep" / series[0].name))
    assert list(frame.columns) == list(COLUMNS)
    assert len(frame) == 1
    assert ((frame > 0) & (frame < 1)).all(axis=None)
    assert not list((tmp_path / "shared").iterdir())
    again = server.predict(str(series[0]))
    assert np.array_equal(frame, again)
    assert not np.array_equal(frame, server.predict(str(series[1])))


def test_a_series_without_files_gets_the_prior_and_is_on_record_at_once(serve, bundle, tmp_path, capsys):
    frame = serve().predict(str(tmp_path / "shared" / "1.2.3"))
    prior = read_bundle(bundle).prior
    assert sorted(frame.iloc[0]) == pytest.approx(sorted(prior.values()))
    assert "case 1.2.3 gets the prior" in capsys.readouterr().out
    assert list(json.loads((tmp_path / "working" / "kernel_log.json").read_text())["failures"]) == ["1.2.3"]


def test_too_many_bad_series_end_the_run(serve, tmp_path):
    server = serve(cases=100)
    for number in range(2):
        server.predict(str(tmp_path / "shared" / str(number)))
    with pytest.raises(UserError, match="3 of 100 cases fail, more than the 2 that may"):
        server.predict(str(tmp_path / "shared" / "2"))


def test_a_kernel_whose_answers_differ_is_refused(home, bundle, series, tmp_path):
    for place in series[:2]:
        shutil.copytree(place, tmp_path / "cases" / place.name)
    rows = pd.DataFrame(0.5, index=range(2), columns=list(COLUMNS))
    rows.insert(0, "SeriesInstanceUID", [place.name for place in series[:2]])
    rows.to_csv(tmp_path / "local.csv", index=False)
    script = home / "kaggle_kernels" / SPEC / "notebook" / f"{slug_of(SPEC)}.py"
    with pytest.raises(UserError, match=r"off the local ones by up to .*do not submit it"):
        replay(script, bundle, tmp_path / "cases", tmp_path / "local.csv", mode="server")


def test_series_whose_frames_lose_their_places_are_asked_for_but_not_compared(home, series, tmp_path, capsys):
    shutil.copytree(series[0], tmp_path / "cases" / series[0].name)
    several = dicom_toy.enhanced(dicom_toy.voxels(), slopes=[1.0] * 5, steps=[0, 2, 4, 6, 8])
    dicom_toy.save(several, tmp_path / "cases" / "1.2.3" / "frames.dcm")
    assert run(["kernel", SPEC, "--replay-on", str(tmp_path / "cases")]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "1 of 2 series, such as 1.2.3, are asked for but not compared" in shown
    assert "offline on 1 cases: equal to the last bit" in shown


def test_a_folder_without_series_cannot_be_replayed(home, tmp_path, capsys):
    assert run(["kernel", SPEC, "--replay-on", str(tmp_path)]) == 2
    assert "--replay-on wants a folder of series folders" in capsys.readouterr().err
