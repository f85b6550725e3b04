"""The code that an experiment reaches in the user's own modules: what counts, and what does not."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from heldout import config as configuration
from heldout.config.code import changed_code, code_diff, code_of

EXPERIMENT = '''"""An experiment."""
import numpy as np
from exps import helpers
from exps.helpers import double as twice
from heldout.config import BaseConfig

UNUSED = 1
SCALE = 3


def scale(x):
    """Twice that."""
    return twice(x) * SCALE


class Exp900(BaseConfig):
    dataset = "phantom"
    lr = 1e-3

    def build_model(self, classes, exclusive):
        return scale(classes)

    def build_loss(self, exclusive):
        return self.helper()

    @staticmethod
    def helper():
        return helpers.Loss(np.pi)

    @property
    def depth(self):
        return 4
'''
HELPERS = '''"""Helpers."""
FACTOR = 2


def double(x):
    return x * FACTOR


class Base:
    pass


class Loss(Base):
    def __init__(self, weight):
        self.weight = weight


def other():
    return 0
'''


@pytest.fixture
def code(tmp_path, monkeypatch):
    """Code reached by an experiment, given what to replace in its file and in the module beside it."""
    package = tmp_path / "exps"
    package.mkdir()
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))

    def read(experiment=("", ""), helpers=("", "")) -> dict[str, str]:
        for name in [name for name in sys.modules if name.partition(".")[0] == "exps"]:
            monkeypatch.delitem(sys.modules, name)
        for name, text, change in (("exp900", EXPERIMENT, experiment), ("helpers", HELPERS, helpers)):
            assert change[0] in text
            Path(package / f"{name}.py").write_text(text.replace(*change) if change[0] else text)
        return code_of(type(configuration.load("exp900")))

    return read


def test_it_holds_what_is_reached_and_nothing_else(code):
    assert list(code()) == [
        "exps.exp900:Exp900.build_loss",
        "exps.exp900:Exp900.build_model",
        "exps.exp900:Exp900.depth",
        "exps.exp900:Exp900.helper",
        "exps.exp900:SCALE",
        "exps.exp900:scale",
        "exps.helpers:Base",
        "exps.helpers:FACTOR",
        "exps.helpers:Loss",
        "exps.helpers:double",
    ]


@pytest.mark.parametrize(
    ("experiment", "helpers", "changed"),
    [
        (("SCALE = 3", "SCALE = 4"), ("", ""), ["exps.exp900:SCALE"]),
        (("* SCALE", "+ SCALE"), ("", ""), ["exps.exp900:scale"]),
        (("return 4", "return 5"), ("", ""), ["exps.exp900:Exp900.depth"]),
        (("np.pi", "np.e"), ("", ""), ["exps.exp900:Exp900.helper"]),
        (("", ""), ("FACTOR = 2", "FACTOR = 3"), ["exps.helpers:FACTOR"]),
        (("", ""), ("self.weight = weight", "self.weight = 1"), ["exps.helpers:Loss"]),
        (("", ""), ("    pass", "    size = 1"), ["exps.helpers:Base"]),
        (("SCALE = 3", "SCALE = 3\nhelpers.FACTOR = 5"), ("", ""), ["exps.exp900:(module)"]),
        (("np.pi", "helpers.other()"), ("", ""), ["exps.exp900:Exp900.helper", "exps.helpers:other"]),
        (("UNUSED = 1", "UNUSED = 2"), ("return 0", "return 1"), []),
        (('    """Twice that."""\n', "    # a comment\n"), ("x * FACTOR", "(x   *   FACTOR)"), []),
        (("lr = 1e-3", "lr = 1e-2"), ("", ""), []),
    ],
)  # fmt: skip
def test_an_edit_is_seen_under_the_name_it_was_made_in(code, experiment, helpers, changed):
    before = code()
    assert changed_code(before, code(experiment, helpers)) == changed


def test_the_diff_shows_the_edit(code):
    before, after = code(), code(("* SCALE", "+ SCALE"))
    diff = code_diff(before, after, "exps.exp900:scale")
    assert "-    return twice(x) * SCALE\n+    return twice(x) + SCALE" in diff


def test_a_method_that_a_child_overrides_counts_only_where_it_is_called(code, tmp_path):
    code()
    for body, reached in (("return 1", False), ("return super().build_loss(exclusive)", True)):
        sys.modules.pop("exps.exp901", None)
        (tmp_path / "exps" / "exp901.py").write_text(
            '"""A child."""\nfrom exps.exp900 import Exp900\n\n\nclass Exp901(Exp900):\n'
            f"    def build_loss(self, exclusive):\n        {body}\n"
        )
        found = code_of(type(configuration.load("exp901")))
        assert ("exps.exp900:Exp900.build_loss" in found) == reached
        assert "exps.exp901:Exp901.build_loss" in found
