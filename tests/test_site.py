"""`make docs`: the documentation as a site, without a broken link, with nothing fetched from other hosts."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from heldout.files import REPOSITORY

pytestmark = pytest.mark.extras


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("mkdocs")
    pytest.importorskip("mkdocstrings")
    folder = tmp_path_factory.mktemp("site")
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "--quiet",
        "-f",
        ".ci/mkdocs.yml",
        "-d",
        str(folder),
    ]
    done = subprocess.run(
        command,
        cwd=REPOSITORY,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_every_page_is_on_the_site(site):
    pages = {path.stem for path in (REPOSITORY / "docs").glob("*.md")} | {"results", "changelog"}
    assert pages <= {path.stem for path in site.glob("*.html")}
    assert (site / "exps/results/FracAtlas-dice_pos.svg").is_file()


def test_the_reference_shows_functions_with_their_arguments(site):
    text = (site / "api.html").read_text(encoding="utf-8")
    for name in ("heldout.api.leaderboard", "heldout.api.Run.scores", "heldout.tasks.base.Task.build_model"):
        assert f'id="{name}"' in text
    assert ":func:" not in text


def test_nothing_is_fetched_from_other_hosts(site):
    for page in site.glob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert not re.findall(
            r'(?:<script[^>]* src|<link[^>]* rel="(?:stylesheet|preconnect)"[^>]* href)="(?:https?:)?//', text
        )
