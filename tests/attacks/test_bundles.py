"""Item 3: a bundle from somebody else runs no code that was not listed and accepted; each attempt is named."""

from __future__ import annotations

import importlib.util
import py_compile
from pathlib import Path

import pytest

from heldout import files
from heldout.cli import run
from heldout.deliver.kernel.bundle import check_trust, read_bundle
from heldout.errors import UserError
from heldout.records import read_json

EVIL = "raise SystemExit('foreign code ran')\n"


def relist(bundle: Path, *names: str) -> None:
    """Put files on the bundle's list, as whoever made it can."""
    manifest = read_json(bundle / "bundle.json")
    for name in names:
        manifest["files"][name] = files.sha256_file(bundle / name)
    files.write_json(bundle / "bundle.json", manifest)


def compiled(bundle: Path, place: str) -> None:
    """Code without its source, which Python imports as well."""
    source = bundle.parent / "evil.py"
    source.write_text(EVIL)
    (bundle / place).parent.mkdir(exist_ok=True)
    py_compile.compile(
        str(source), cfile=str(bundle / place), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
    )


UNLISTED = ["numpy.py", "exps/helper.py", "exps/exp004.so", "sitecustomize.py", "evil.pth", "yaml/__init__.py", "a.pyc"]


@pytest.mark.parametrize("name", UNLISTED)
def test_a_file_that_is_not_listed_is_refused(bundle, name):
    (bundle / name).parent.mkdir(exist_ok=True)
    (bundle / name).write_text(EVIL)
    with pytest.raises(UserError, match=rf"{name} is not a file of this bundle: remove it"):
        read_bundle(bundle)


@pytest.mark.parametrize("name", ["numpy.py", "exps/exp004.py", "exps/exp004.abi3.so", "yaml.pyc", "evil.pth", "a.zip"])
def test_whatever_python_could_import_is_code(bundle, name):
    """Python takes an extension or a compiled file in place of a source that was accepted."""
    (bundle / name).write_text(EVIL)
    relist(bundle, name)
    found = read_bundle(bundle)
    with pytest.raises(UserError, match=rf"runs code that was not written here \({name}\).*--trust"):
        check_trust(found, accept=False)
    check_trust(found, accept=True)
    check_trust(found, accept=False)  # remembered by its hash
    (bundle / name).write_text(EVIL + "# and more\n")
    relist(bundle, name)
    with pytest.raises(UserError, match="was not written here"):
        check_trust(read_bundle(bundle), accept=False)


@pytest.mark.parametrize("name", ["numpy/__init__.py", "yaml.py", "exps/numpy/__init__.py"])
def test_a_listed_empty_file_that_hides_a_package_asks_for_trust(bundle, name):
    (bundle / name).parent.mkdir(exist_ok=True)
    (bundle / name).touch()
    relist(bundle, name)
    with pytest.raises(UserError, match=rf"runs code that was not written here \({name}\)"):
        check_trust(read_bundle(bundle), accept=False)


@pytest.mark.parametrize("text", ["5", '{"a": 1}', "[1]", "null", "[", '"' + "0" * 64 + '"'])
def test_a_damaged_list_of_what_is_trusted_is_refused_in_a_sentence(bundle, text):
    (bundle / "evil.py").write_text(EVIL)
    relist(bundle, "evil.py")
    files.write_text(files.home() / "working" / "trusted.json", text)
    for accept in (False, True):
        with pytest.raises(UserError, match=r"trusted\.json has a missing or wrong .*: delete it"):
            check_trust(read_bundle(bundle), accept=accept)


@pytest.mark.parametrize("name", ["torch", "exps/helpers", "exps/exp777.py", "working/runs/other"])
def test_a_link_is_refused(bundle, tmp_path, name):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "__init__.py").write_text(EVIL)
    target = outside if not name.endswith(".py") else outside / "__init__.py"
    (bundle / name).symlink_to(target)
    with pytest.raises(UserError, match=rf"{name} is a link, which a bundle does not hold"):
        read_bundle(bundle)


def test_weights_behind_a_link_are_refused(bundle, tmp_path):
    weights = next(bundle.rglob("weights.safetensors"))
    moved = tmp_path / "elsewhere.safetensors"
    weights.rename(moved)
    weights.symlink_to(moved)
    with pytest.raises(UserError, match=r"weights\.safetensors is a link"):
        read_bundle(bundle)


@pytest.mark.parametrize("name", ["../outside.py", "/etc/hostname", "exps/../../outside.py"])
def test_a_list_that_leaves_the_bundle_is_refused(bundle, name):
    (bundle.parent / "outside.py").write_text(EVIL)
    manifest = read_json(bundle / "bundle.json")
    manifest["files"][name] = files.sha256_file(bundle / name)
    files.write_json(bundle / "bundle.json", manifest)
    with pytest.raises(UserError, match=r"bundle\.json lists .*, which is not below the bundle"):
        read_bundle(bundle)


def test_compiled_code_beside_its_source_is_not_run(bundle, tmp_path):
    """The cache of compiled code is passed over, as Python would run it unchecked."""
    compiled(bundle, importlib.util.cache_from_source("exps/exp004.py"))
    folder = tmp_path / "new"
    folder.mkdir()
    done = run_in_a_process(["predict", str(bundle), "--input", str(folder), "--output", str(tmp_path / "out")])
    assert "foreign code ran" not in done.stderr
    assert done.returncode == 2  # the folder holds no case


def test_predict_names_the_code_before_it_runs(bundle, tmp_path, capsys):
    path = bundle / "exps" / "exp004.py"
    path.write_text(path.read_text() + EVIL)
    relist(bundle, "exps/exp004.py")
    folder = tmp_path / "new"
    folder.mkdir()
    words = ["predict", str(bundle), "--input", str(folder), "--output", str(tmp_path / "out")]
    assert run(words) == 2
    assert "runs code that was not written here (exps/exp004.py)" in capsys.readouterr().err


def run_in_a_process(words: list[str]):
    import subprocess
    import sys

    return subprocess.run(
        [sys.executable, str(files.REPOSITORY / "run.py"), *words], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("change", ["weights", "sealed weights", "prior", "newer decision", "decision"])
def test_parts_that_changed_are_refused(bundle, change):
    manifest = read_json(bundle / "bundle.json")
    weights = next(bundle.rglob("weights.safetensors"))
    if change == "weights":
        weights.write_bytes(weights.read_bytes()[:-1] + b"?")
        message = r"weights\.safetensors is missing or changed: upload the dataset again"
    elif change == "sealed weights":
        weights.write_bytes(b"other weights")
        relist(bundle, weights.relative_to(bundle).as_posix())
        manifest, message = None, "does not hold the weights that were sealed"
    elif change == "prior":
        manifest["prior"] = dict.fromkeys(manifest["prior"], 7.5)
        message = "prior"
    elif change == "newer decision":
        manifest["decision"]["schema"] = 9
        message = "the decision in .* was written by another version of heldout .*: update heldout"
    else:
        manifest["decision"]["members"][0]["folders"][0]["weights_sha256"] = "0" * 64
        message = "does not hold the weights that were sealed"
    if manifest:
        files.write_json(bundle / "bundle.json", manifest)
    with pytest.raises(UserError, match=message):
        read_bundle(bundle)
