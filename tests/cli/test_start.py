"""`heldout start` and the installed package: a project of its own, where every command works as in the repository."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
import venv
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from heldout.cli import run
from heldout.deliver.kernel.packages import build_wheel, requirements
from heldout.files import REPOSITORY


def test_start_lays_out_a_project_with_experiments_that_run(tmp_path, capsys):
    folder = tmp_path / "my-competition"
    assert run(["start", str(folder)]) == 0
    assert "Next: python run.py demo" in capsys.readouterr().out
    made = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {"run.py", "README.md", ".gitignore", "exps/exp001.py", "tests/test_experiments.py"} <= made
    assert {f"{name}/README.md" for name in ("input", "working", "submissions", "kaggle_kernels")} <= made
    assert (folder / "README.md").read_text().startswith("# my-competition\n")
    assert (folder / "exps" / "exp001.py").read_bytes() == (REPOSITORY / "exps" / "exp001.py").read_bytes()
    assert run(["start", str(folder)]) == 2
    assert "exists already and is not an empty folder: choose another name" in capsys.readouterr().err


def test_a_project_is_found_from_below_it_and_from_elsewhere(tmp_path):
    run(["start", str(folder := tmp_path / "mine")])
    (folder / "exps" / "exp123.py").write_text(
        '"""Mine alone."""\n\nfrom exps.exp001 import Exp001\n\n\nclass Exp123(Exp001):\n    epochs = 1\n'
    )
    (folder / "exps" / "exp002.py").unlink()
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HELDOUT")}
    environment["PYTHONPATH"] = str(REPOSITORY / "src")
    below = [sys.executable, "-c", "from heldout.cli import main; main()"], folder / "input"
    elsewhere = [sys.executable, str(folder / "run.py")], REPOSITORY
    for command, cwd in (below, elsewhere):
        words = [*command, "experiments", "--json"]
        done = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert {row["name"]: row["title"] for row in json.loads(done.stdout)}["exp123"] == "Mine alone."
        assert "exp040" not in done.stdout


def with_dependencies(names: list[str]) -> set[str]:
    """Installed distributions that some requirements bring, themselves included."""
    found: set[str] = set()
    waiting = [(Requirement(text), "") for text in names]
    while waiting:
        one, extra = waiting.pop()
        if one.marker and not one.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(one.name)
        wanted = {name, *(f"{name}[{more}]" for more in one.extras)} - found
        found |= wanted
        for key in wanted:
            extra = key.partition("[")[2].rstrip("]")
            waiting += [(Requirement(text), extra) for text in distribution(name).requires or []]
    return {name for name in found if "[" not in name}


def link_packages(names: set[str], target: Path) -> None:
    """Installed distributions as links in the packages of another environment: what `pip install` would put there."""
    for name in names:
        known = distribution(name)
        for top in {one.parts[0] for one in known.files or [] if one.parts[0] not in ("..", "__pycache__")}:
            if not (target / top).exists():
                (target / top).symlink_to(Path(str(known.locate_file(top))))


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """Python of a new environment that holds the built wheel and its runtime dependencies, and nothing else."""
    folder = tmp_path_factory.mktemp("installed")
    wheel = build_wheel(folder / "wheel")
    venv.create(folder / "env", with_pip=False)
    python = folder / "env" / "bin" / "python"
    packages = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder / "env")}))
    link_packages(with_dependencies([*requirements(), "pip"]), packages)
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel)], check=True)
    check = subprocess.run([*pip, "check"], capture_output=True, text=True, check=False)
    assert "heldout" not in check.stdout, check.stdout  # nothing that it asks for is missing
    return python


@pytest.mark.journey
def test_the_wheel_alone_takes_a_new_project_to_a_kernel(installed, tmp_path):
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("HELDOUT", "PYTHON"))}

    def call(*words: str, cwd: Path, code: int = 0) -> str:
        done = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == code, f"{words}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    absent = "import importlib.util as u; print([n for n in ('pytest', 'mypy', 'ruff') if u.find_spec(n)])"
    assert call(str(installed), "-c", absent, cwd=tmp_path) == "[]\n"
    call(str(installed.with_name("heldout")), "start", "mine", cwd=tmp_path)
    folder = tmp_path / "mine"
    python = str(installed)
    first = folder / "exps" / "exp001.py"
    first.write_text(first.read_text().replace("epochs = 6", "epochs = 1").replace("(0, 1)", "(0,)"))
    printed = {}
    readme = (folder / "README.md").read_text()
    listed = [line.partition("#")[0].split() for line in re.findall(r"^python run\.py (.*)$", readme, re.MULTILINE)]
    more = ["submit first", "kernel first --user ada", "check exp001", "report exp001 first", "card first", "fields"]
    for words in [*listed[1:7], *(line.split() for line in more)]:
        printed[words[0]] = call(python, "run.py", *words, cwd=folder)
    assert "test dice" in printed["test"]
    assert "equal" in printed["kernel"]
    assert (folder / "submissions" / "first.csv").is_file()
    wheel = next((folder / "kaggle_kernels" / "first" / "dataset" / "wheels").glob("heldout-*.whl"))
    assert wheel.stat().st_size > 100_000
    assert "exp001 passes every check" in printed["check"]
    assert not (REPOSITORY / "working" / "runs" / "first").exists()
    assert "exists already" in call(python, "run.py", "start", ".", cwd=folder, code=2)
