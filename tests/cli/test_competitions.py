"""docs/your-competition.md, followed: from raw folders of many layouts to a leaderboard, a submission and a kernel."""

from __future__ import annotations

import re
import sys

import pytest

from heldout.cli import run
from heldout.data.discover import discover
from heldout.files import REPOSITORY, home
from heldout.tasks import TASKS
from heldout.tasks.create import experiment_source
from tests.data.miniatures import LAYOUTS
from tests.data.more_layouts import MORE

PAGE = (REPOSITORY / "docs" / "your-competition.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r"^```python\n# ([\w-]+)\n(.*?)\n```", PAGE, re.MULTILINE | re.DOTALL))
LONGEST = 12  # lines of the user's


def test_the_page_shows_every_layout_in_few_commands():
    assert set(LAYOUTS) <= set(BLOCKS)
    commands = re.findall(r"^python run\.py .*", PAGE, re.MULTILINE)
    assert 0 < len(commands) <= LONGEST
    assert all(any(word in line for line in commands) for word in ("init", "folds", "leaderboard", "submit", "kernel"))


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_a_block_of_the_page_is_what_init_writes(name, tmp_path):
    ({**LAYOUTS, **MORE})[name](tmp_path)
    proposal = discover(tmp_path, lambda question: question.choices[0])
    task = next(task for task in TASKS if task.__name__ == proposal.task)
    fields = {"dataset": name, "source": proposal.source, "source_options": dict(proposal.options), **proposal.fields}
    source = experiment_source("exp100", "heldout.tasks", task, "A title.", fields)
    assert BLOCKS[name] in source


@pytest.fixture
def project(tmp_path, monkeypatch, home):
    import exps

    (tmp_path / "exps").mkdir()
    monkeypatch.setenv("HELDOUT_PROJECT", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")  # no test asks the network
    monkeypatch.setattr(exps, "__path__", [*exps.__path__, str(tmp_path / "exps")])
    monkeypatch.delenv("HELDOUT_DATA", raising=False)
    yield home
    sys.modules.pop("exps.exp990", None)


@pytest.mark.journey
@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_from_a_raw_folder_to_a_kernel(name, project, capsys):
    folder = project / "input" / name
    folder.mkdir(parents=True)
    LAYOUTS[name](folder)
    assert run(["init", name, "--yes", "--name", "exp990"]) == 0
    assert run(["folds", "exp990"]) == 0
    fast = ["--set", "epochs=1", "--set", "fold_count=2", "--set", "workers=0"]
    assert run(["exp990", *fast]) == 0
    spec = next((home() / "working" / "runs").iterdir()).name
    assert run(["leaderboard"]) == 0
    assert "exp990" in capsys.readouterr().out
    assert run(["submit", spec]) == 0
    submitted = list((home() / "submissions").glob("exp990*"))
    assert submitted
    assert run(["kernel", spec]) == 0
    assert "equal" in capsys.readouterr().out or (home() / "kaggle_kernels" / spec / "replay.json").exists()
