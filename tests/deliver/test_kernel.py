"""Kernels: what is exported predicts the same offline, survives a bad case, and refuses what was changed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pandas as pd
import pytest

from heldout import files
from heldout.blend.decision import load_decision
from heldout.cli import run
from heldout.config import load
from heldout.data.cases import open_dataset
from heldout.data.sources import source_class
from heldout.deliver.kernel.bundle import check_trust, read_bundle
from heldout.deliver.kernel.notebook import slug_of
from heldout.deliver.kernel.replay import OFFLINE, Budget, Replay, compare, limits, replay
from heldout.deliver.kernel.runtime import FailSafe
from heldout.deliver.kernel.runtime import run as run_kernel
from heldout.errors import UserError
from heldout.records import read_json

pytestmark = pytest.mark.journey

SPEC = "exp001+dataset=tiny,epochs=1,seeds=(0,),source_options={'patients':14,'size':48},steps_per_epoch=2"


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A home with one trained fold and its kernel."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HELDOUT_HOME", str(home))
        patch.setenv("PIP_NO_INDEX", "1")  # no test asks the network
        assert run([SPEC, "--fold", "0"]) == 0
        assert run(["kernel", SPEC, "--user", "ada", "--competition", "lesions"]) == 0
        yield home


@pytest.fixture
def kernel(exported):
    return exported / "kaggle_kernels" / SPEC


@pytest.fixture
def cases(exported, tmp_path):
    """The unlabeled images with their sample submission, in a folder of their own."""
    shutil.copytree(exported / "input" / "tiny" / "submit", tmp_path / "cases" / "submit")
    shutil.copy(exported / "input" / "tiny" / "sample_submission.csv", tmp_path / "cases")
    return tmp_path / "cases"


@pytest.fixture
def in_bundle(kernel, monkeypatch):
    """What a kernel changes for its process, put back afterwards."""
    monkeypatch.setenv("HELDOUT_HOME", str(kernel / "dataset"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    return kernel / "dataset"


def test_notebook_and_script_say_the_same_and_ask_for_no_network(kernel):
    slug = slug_of(SPEC)
    notebook = json.loads((kernel / "notebook" / f"{slug}.ipynb").read_text())
    text = "\n\n".join("".join(cell["source"]) for cell in notebook["cells"])
    assert text.split() == (kernel / "notebook" / f"{slug}.py").read_text().split()
    metadata = json.loads((kernel / "notebook" / "kernel-metadata.json").read_text())
    assert metadata["enable_internet"] is False
    assert metadata["dataset_sources"] == [f"ada/{slug}"]
    assert metadata["id"] == f"ada/{metadata['title']}"
    assert max(len(slug), len(metadata["title"])) <= 50
    assert metadata["competition_sources"] == ["lesions"]
    assert json.loads((kernel / "dataset" / "dataset-metadata.json").read_text())["id"] == f"ada/{slug}"


@pytest.mark.parametrize(
    ("bundle", "cases"),
    [("{slug}", "lesions"), ("datasets/ada/{slug}", "competitions/lesions")],
    ids=["side by side", "by kind"],
)
def test_sources_are_found_wherever_kaggle_mounts_them(kernel, tmp_path, monkeypatch, bundle, cases):
    slug = slug_of(SPEC)
    places = [tmp_path / bundle.format(slug=slug), tmp_path / cases]
    for place in places:
        place.mkdir(parents=True)
    for name in ("HELDOUT_BUNDLE", "HELDOUT_TEST_CASES"):
        monkeypatch.delenv(name, raising=False)
    script = (kernel / "notebook" / f"{slug}.py").read_text().replace("/kaggle/input", str(tmp_path))
    found: dict[str, object] = {}
    [looked_for] = [line for line in script.splitlines() if line.startswith("TEST_CASES = ")]
    exec(f"{script.partition('# The package')[0]}\n{looked_for}", found)  # what looks for its folders
    assert [found["BUNDLE"], found["TEST_CASES"]] == places


def test_the_kernel_writes_what_submit_writes(exported, kernel, cases, tmp_path):
    assert run(["submit", SPEC]) == 0
    expected = exported / "submissions" / f"{SPEC}.csv"
    shown = replay(kernel / "notebook" / f"{slug_of(SPEC)}.py", kernel / "dataset", cases, expected)
    assert shown.difference == 0
    assert {"torch", "numpy"} <= {package.partition("==")[0] for package in shown.packages}
    assert shown.cases == len(pd.read_csv(cases / "sample_submission.csv").iloc[:, 0].unique())


def test_a_replay_has_no_network(tmp_path):
    script = tmp_path / "asks.py"
    script.write_text("import urllib.request\nurllib.request.urlopen('http://127.0.0.1:9')\n")
    done = subprocess.run([sys.executable, "-c", OFFLINE, str(script)], capture_output=True, text=True, check=False)
    assert "there is no network in a kernel" in done.stderr


@pytest.mark.parametrize("damage", ["cut", "empty", "missing"])
def test_a_bad_case_gets_the_prior_and_is_on_record(in_bundle, cases, tmp_path, capsys, damage):
    bad = sorted(cases.rglob("*.png"))[0]
    bad.write_bytes(bad.read_bytes()[: 40 if damage == "cut" else 0])
    if damage == "missing":
        bad.unlink()
    path = run_kernel(in_bundle, cases, tmp_path / "working", most_failures=0.5)
    table = pd.read_csv(path)
    assert len(table) == len(pd.read_csv(cases / "sample_submission.csv"))
    log = json.loads((tmp_path / "working" / "kernel_log.json").read_text())
    assert [case_id.removeprefix("submit_") for case_id in log["failures"]] == [bad.stem]
    row = table[table.iloc[:, 0].astype(str).str.startswith(bad.stem)]
    assert row.iloc[:, -1].isna().all()  # an empty mask
    assert "gets the prior" in capsys.readouterr().out


def test_the_prior_is_the_share_of_positive_training_cases(in_bundle, exported, monkeypatch):
    bundle = read_bundle(in_bundle)
    source = source_class("phantom")(exported / "nowhere")
    safe = FailSafe(bundle, source, cases=1, most=1)
    (result,) = safe.predict([{"case_id": "lost", "image": "lost.png"}])
    monkeypatch.setenv("HELDOUT_HOME", str(exported))
    train = open_dataset(load(SPEC)).part("train")
    assert result.scores == pytest.approx([train[f"y_{name}"].mean() for name in bundle.decision.classes])
    assert not result.mask.any()


def test_too_many_bad_cases_end_the_kernel_without_a_submission(in_bundle, cases, tmp_path):
    for path in cases.rglob("*.png"):
        path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(UserError, match=r"cases fail, more than the \d+ that may.*fix the cause"):
        run_kernel(in_bundle, cases, tmp_path / "working")
    assert not (tmp_path / "working" / "submission.csv").exists()


def test_one_bad_case_of_few_does_not_end_the_kernel(in_bundle, cases, tmp_path):
    config, bundle = load(SPEC), read_bundle(in_bundle)
    source = source_class(config.source)(cases, **config.source_options)
    lost = [{"case_id": str(number), "image": "lost.png"} for number in range(2)]
    safe = FailSafe(bundle, source, 5)
    safe.one(lost[0])
    with pytest.raises(UserError, match="2 of 5 cases fail, more than the 1 that may"):
        safe.one(lost[1])
    for share, count in ((0.0, 5), (0.02, 1)):
        with pytest.raises(UserError, match=f"1 of {count} cases fail, more than the 0 that may"):
            FailSafe(bundle, source, count, most=share).one(lost[0])


@pytest.mark.parametrize("damage", ["weights", "manifest"])
def test_a_changed_bundle_is_refused(kernel, tmp_path, damage):
    bundle = shutil.copytree(kernel / "dataset", tmp_path / "bundle")
    if damage == "weights":
        path = next(bundle.rglob("weights.safetensors"))
        path.write_bytes(path.read_bytes()[:-1] + b"?")
        message = r"weights\.safetensors is missing or changed: upload the dataset again"
    else:
        manifest = read_json(bundle / "bundle.json")
        manifest["decision"]["members"][0]["folders"][0]["weights_sha256"] = "0" * 64
        files.write_json(bundle / "bundle.json", manifest)
        message = "does not hold the weights that were sealed: write the kernel again"
    with pytest.raises(UserError, match=message):
        read_bundle(bundle)


def test_a_kernel_that_differs_is_not_kept(exported, cases, monkeypatch, capsys, tmp_path):
    before = (exported / "kaggle_kernels" / SPEC / "dataset" / "bundle.json").read_bytes()
    shutil.rmtree(cases / "submit")
    assert run(["kernel", SPEC, "--replay-on", str(cases)]) == 2
    assert "holds no readable file" in capsys.readouterr().err
    assert (exported / "kaggle_kernels" / SPEC / "dataset" / "bundle.json").read_bytes() == before
    assert not list((exported / "kaggle_kernels").glob(".*"))


def test_submissions_are_compared_number_by_number(tmp_path):
    one, other = tmp_path / "one.csv", tmp_path / "other.csv"
    one.write_text("id,p\na,0.5\nb,0.25\n")
    other.write_text("id,p\na,0.500001\nb,0.25\n")
    assert compare(one, other) == pytest.approx(1e-6)
    other.write_text("id,p\na,0.6\nb,0.25\n")
    with pytest.raises(UserError, match=r"off the local ones by up to 0\.1: do not submit it"):
        compare(one, other)
    other.write_text("id,p\na,0.5\nc,0.25\n")
    with pytest.raises(UserError, match="column id differs from the local one"):
        compare(one, other)


def test_the_decision_in_the_bundle_is_the_local_one(exported, in_bundle, monkeypatch):
    bundled = read_bundle(in_bundle).decision
    monkeypatch.setenv("HELDOUT_HOME", str(exported))
    assert bundled == load_decision(SPEC)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--mode", "stream"], "--mode 'stream' does not exist: choose one of auto, batch, server"),
        (["--mode", "server"], "a server is asked for by RSNA 2025"),
        (["--fit-hours", "9"], "--fit-hours needs the number of cases to expect: add --cases N"),
        (["--fit-name", "small"], "--fit-name names what --fit-hours makes: add --fit-hours H"),
    ],
)
def test_options_that_do_not_go_together_are_refused(exported, capsys, words, message):
    assert run(["kernel", SPEC, *words]) == 2
    assert message in capsys.readouterr().err


def test_the_time_for_all_cases_is_the_start_and_every_case():
    shown = Replay(8, 0.0, start_seconds=36.0, seconds_per_case=1.8, slowest=30.0, packages=())
    assert Budget(shown, cases=1000).expected_hours == pytest.approx(0.51)
    assert "0.51 h of 12 h: fits" in str(Budget(shown, cases=1000))
    assert "does not fit" in str(Budget(shown, cases=1000, hours=0.5))
    assert Budget(shown, cases=10, per_call=29.0).fits is False
    assert "30.0 s of 1,800 s" in str(Budget(shown, 10, *limits("server", None)))


def test_a_submission_that_was_edited_is_refused_by_row(exported, capsys, tmp_path):
    assert run(["submit", SPEC]) == 0
    path = exported / "submissions" / f"{SPEC}.csv"
    assert run(["check-submission", SPEC, str(path)]) == 0
    lines = path.read_text().splitlines()
    (tmp_path / "edited.csv").write_text("\n".join([lines[0], lines[1].split(",")[0] + ",1 99999,", *lines[2:]]) + "\n")
    assert run(["check-submission", SPEC, str(tmp_path / "edited.csv")]) == 2
    assert "edited.csv row 2, id" in (said := capsys.readouterr().err)
    assert "leaves an image of 48 x 48 pixels" in said


def test_a_bundle_predicts_new_files_where_there_is_no_dataset(exported, kernel, cases, tmp_path, monkeypatch):
    words = ["predict", SPEC, "--input", str(cases / "submit"), "--output", str(tmp_path / "with")]
    assert run(words) == 0
    bundle = shutil.copytree(kernel / "dataset", tmp_path / "bundle")
    monkeypatch.setenv("HELDOUT_HOME", str(tmp_path / "nowhere"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    words = ["predict", str(bundle), "--input", str(cases / "submit"), "--output", str(tmp_path / "without")]
    assert run(words) == 0  # its experiments are those of this checkout
    one, other = (tmp_path / name / "predictions.csv" for name in ("with", "without"))
    assert one.read_text() == other.read_text()


def test_a_bundle_with_other_code_runs_after_it_was_accepted_once(kernel, tmp_path, monkeypatch):
    monkeypatch.setenv("HELDOUT_HOME", str(tmp_path / "home"))
    bundle = shutil.copytree(kernel / "dataset", tmp_path / "bundle")
    path = bundle / "exps" / f"{SPEC[:6]}.py"
    path.write_text(path.read_text() + "\nSURPRISE = 1\n")
    manifest = read_json(bundle / "bundle.json")
    manifest["files"][f"exps/{SPEC[:6]}.py"] = files.sha256_file(path)
    files.write_json(bundle / "bundle.json", manifest)
    read = read_bundle(bundle)
    with pytest.raises(UserError, match=rf"runs code that was not written here \(exps/{SPEC[:6]}.py\).*--trust"):
        check_trust(read, accept=False)
    check_trust(read, accept=True)
    check_trust(read, accept=False)


def test_a_file_that_a_bundle_does_not_list_is_refused(kernel, tmp_path):
    bundle = shutil.copytree(kernel / "dataset", tmp_path / "bundle")
    (bundle / "numpy.py").write_text("raise SystemExit")
    with pytest.raises(UserError, match=r"numpy.py is not a file of this bundle: remove it"):
        read_bundle(bundle)
