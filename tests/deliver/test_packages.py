"""Packages of a kernel: what the image lacks, which wheels it could install, what is said when one is missing."""

from __future__ import annotations

import json
from importlib.metadata import version

import pytest

from heldout.deliver.kernel.packages import check_packages, check_wheel, fetch_wheels, image, needed
from heldout.errors import UserError


def test_the_image_list_says_as_of_when_and_where_from():
    known = image()
    assert known.as_of[:2] == "20"
    assert "docker-python" in known.source
    assert known.python.startswith("3.")
    assert "torch" in known.packages


def test_what_the_image_has_needs_no_wheel_however_its_name_is_written():
    wanted, lacking = needed(["torch==2.9", "scikit_learn==1.9"], ["torch>=2.6", "scikit-learn"])
    assert wanted == {"torch": "2.9", "scikit-learn": "1.9"}
    assert lacking == []


def test_what_the_image_lacks_is_named_and_what_comes_with_the_rest_is_not():
    used = ["monai==1.6.1", "torch==2.9", "nvidia-cublas==13", "pytest==9"]
    wanted, lacking = needed(used, ["torch", "monai>=1.5", "optuna"])
    assert lacking == ["monai==1.6.1"]
    assert set(wanted) == {"monai", "torch"}


def test_dicom_brings_its_decoders():
    _, lacking = needed(["pydicom==3.0.2"], ["pydicom"])
    assert "pylibjpeg" in {one.partition("==")[0] for one in lacking}


@pytest.mark.parametrize(
    "name",
    [
        "monai-1.6.1-py3-none-any.whl",
        "imagecodecs-2026.3.6-cp312-cp312-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl",
        "imagecodecs-2026.3.6-cp311-abi3-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
    ],
)
def test_wheels_for_the_image_are_taken(tmp_path, name):
    (tmp_path / name).write_bytes(b"")
    check_wheel(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("pylibjpeg_libjpeg-2.5.0-cp311-cp311-manylinux_2_17_x86_64.whl", r"is not for Python 3\.12 on Linux"),
        ("pylibjpeg_libjpeg-2.5.0-cp312-cp312-win_amd64.whl", r"is not for Python 3\.12 on Linux"),
        ("pylibjpeg_libjpeg-2.5.0-cp312-cp312-manylinux_2_39_x86_64.whl", r"is not for Python 3\.12 on Linux"),
        ("monai.whl", "is not a wheel"),
        ("monai-1.6.1.tar.gz", "is not a wheel"),
    ],
)
def test_other_files_are_refused_with_the_way_to_fetch_the_right_one(tmp_path, name, message):
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(UserError, match=f"{name}.*{message}|{message}.*".replace("+", r"\+")) as error:
        check_wheel(tmp_path / name)
    assert "pip download --no-deps" in str(error.value)


def test_without_a_network_nothing_is_fetched_and_everything_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    assert fetch_wheels(["monai==1.6.1"], tmp_path / "wheels") == ["monai==1.6.1"]


def test_the_kernel_names_what_is_missing_and_what_differs(tmp_path, capsys):
    (tmp_path / "packages.json").write_text(json.dumps({"numpy": "0.1"}))
    check_packages(tmp_path)
    assert f"numpy is {version('numpy')} here and was 0.1 in the replay" in capsys.readouterr().out
    (tmp_path / "packages.json").write_text(json.dumps({"numpy": "2", "nosuchpackage": "1"}))
    with pytest.raises(UserError, match=r"lacks nosuchpackage: .* add their wheels with --wheel"):
        check_packages(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", '{"numpy": 2}'])
def test_a_damaged_list_of_packages_is_refused(tmp_path, text):
    (tmp_path / "packages.json").write_text(text)
    with pytest.raises(UserError, match=r"packages\.json does not list packages with their versions: write the kernel"):
        check_packages(tmp_path)
