"""Item 1: code that an experiment reaches changes between two folds, wherever it stands; each edit is named."""

from __future__ import annotations

import json
import os
import sys

import pytest

from heldout.blend import ledger
from heldout.blend.decision import load_decision
from heldout.blend.freeze import freeze
from heldout.blend.search import blend
from heldout.blend.verify import verify
from heldout.cli import run
from heldout.config import load
from heldout.config.code import changed_code, code_of
from heldout.errors import UserError
from heldout.train import runs as run_folders

EXPERIMENT = '''"""An experiment whose hooks reach code in many ways."""
import functools
import os
from dataclasses import dataclass, field
from functools import partial

import exps.parts.deep.inner as inner
import exps.parts.swapped
from exps import parts
from exps.parts import shared as together
from exps.parts.deep import *
from exps.parts.lazy import Lazy
from heldout.config import BaseConfig

WIDTH = int(os.environ.get("WIDTH", "8"))
TABLE = {"small": lambda x: x + 1}


def decorate(function):
    @functools.wraps(function)
    def inside(*arguments):
        return function(*arguments) + 10
    return inside


def stamped(cls):
    cls.stamp = 11
    return cls


def first(x, by=parts.DEFAULT):
    return x * by


prepared = partial(first, by=2)


class Meta(type):
    order = 12


class Holder(metaclass=Meta):
    limit = 13
    nested = field(default=14)


@dataclass
class Pair:
    left: int = 15


class Mixin:
    share = 16

    def mixed(self):
        return 17


@stamped
class Exp900(Mixin, BaseConfig):
    dataset = "phantom"
    lr = 1e-3
    if WIDTH > 4:
        def build_model(self, classes, exclusive):
            return prepared(classes) + TABLE["small"](classes)

    @decorate
    def build_loss(self, exclusive):
        def local():
            return Holder.limit
        return local() + Pair().left

    @classmethod
    def scale(cls):
        from exps.parts.late import late
        return late(inner.deep()) + starred() + together.common()

    @property
    def depth(self):
        return Lazy().value


Exp900.patched = lambda self: 18
'''
MODULES = {
    "parts/__init__.py": "DEFAULT = 19\n",
    "parts/shared.py": "from .deep.inner import SHARED\n\n\ndef common():\n    return SHARED\n",
    "parts/lazy.py": "class Root:\n    value = 20\n\n\nclass Lazy(Root):\n    pass\n",
    "parts/late.py": "def late(x):\n    return x + 21\n",
    "parts/swapped.py": "import exps.parts.shared as target\n\ntarget.extra = 22\n",
    "parts/deep/__init__.py": "def starred():\n    return 23\n",
    "parts/deep/inner.py": "SHARED = 24\n\n\ndef deep(values=(25,)):\n    return sum(values)\n",
}


@pytest.fixture
def code(tmp_path, monkeypatch):
    """Code that the experiment reaches, after an edit of one of its files."""
    package = tmp_path / "exps"
    monkeypatch.syspath_prepend(str(tmp_path))

    def read(name: str = "", old: str = "", new: str = "") -> dict[str, str]:
        for module in [module for module in sys.modules if module.partition(".")[0] == "exps"]:
            monkeypatch.delitem(sys.modules, module)
        for place, text in {"__init__.py": "", "exp900.py": EXPERIMENT, **MODULES}.items():
            path = package / place
            path.parent.mkdir(parents=True, exist_ok=True)
            assert place != name or old in text
            path.write_text(text.replace(old, new) if place == name else text)
            os.utime(path)
        return code_of(type(load("exp900")))

    return read


EDITS = {
    "a decorator": ("exp900.py", "+ 10", "+ 0", "decorate"),
    "the decorator of the class": ("exp900.py", "cls.stamp = 11", "cls.stamp = 0", "stamped"),
    "a decorator taken away": ("exp900.py", "    @decorate\n", "", "Exp900.build_loss"),
    "the decorator of the class taken away": ("exp900.py", "@stamped\nclass Exp900", "class Exp900", "Exp900"),
    "a base class": ("exp900.py", "Exp900(Mixin, BaseConfig)", "Exp900(BaseConfig)", "Mixin.mixed"),
    "an argument of partial": ("exp900.py", "partial(first, by=2)", "partial(first, by=0)", "prepared"),
    "a function behind partial": ("exp900.py", "x * by", "x - by", "first"),
    "a default argument": ("exp900.py", "by=parts.DEFAULT", "by=0", "first"),
    "a constant of a package, as a default": ("parts/__init__.py", "19", "0", "DEFAULT"),
    "a function in a table": ("exp900.py", "lambda x: x + 1", "lambda x: x", "TABLE"),
    "a metaclass": ("exp900.py", "order = 12", "order = 0", "Meta"),
    "an attribute of a class": ("exp900.py", "limit = 13", "limit = 0", "Holder"),
    "a field of a data class": ("exp900.py", "left: int = 15", "left: int = 0", "Pair"),
    "an attribute of a mixin": ("exp900.py", "share = 16", "share = 0", "Mixin.share"),
    "a method of a mixin": ("exp900.py", "return 17", "return 0", "Mixin.mixed"),
    "a method set after the class": ("exp900.py", "self: 18", "self: 0", "(module)"),
    "a condition in the class": ("exp900.py", "if WIDTH > 4", "if WIDTH > 0", "Exp900.build_model"),
    "how an environment variable is read": ("exp900.py", '"WIDTH", "8"', '"WIDTH", "9"', "WIDTH"),
    "a module of a subfolder": ("parts/deep/inner.py", "SHARED = 24", "SHARED = 0", "SHARED"),
    "a default in a subfolder": ("parts/deep/inner.py", "(25,)", "(0,)", "deep"),
    "a star import": ("parts/deep/__init__.py", "return 23", "return 0", "starred"),
    "an import inside a function": ("parts/late.py", "x + 21", "x", "late"),
    "a parent of an imported class": ("parts/lazy.py", "value = 20", "value = 0", "Root"),
    "a module patched by an import": ("parts/swapped.py", "target.extra = 22", "target.extra = 0", "(module)"),
}  # fmt: skip


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_is_named_wherever_it_is_reached(code, edit):
    before = code()
    *change, name = EDITS[edit]
    changed = changed_code(before, code(*change))
    assert changed, edit
    assert name in [one.partition(":")[2] for one in changed]


def test_comments_layout_and_what_is_not_reached_change_nothing(code):
    before = code()
    assert changed_code(before, code("exp900.py", "    return x * by", "    # as ever\n    return (x   *   by)")) == []
    assert (
        changed_code(before, code("parts/shared.py", "def common", "def unused():\n    return 1\n\n\ndef common")) == []
    )


def edit_trained_code(spec: str, name: str, old: str, new: str) -> None:
    """Record that a run was trained with other code than there is today."""
    for path in run_folders.run_folder(spec).glob("seed*/fold*/config.json"):
        record = json.loads(path.read_text())
        assert old in record["code"][name]
        record["code"][name] = record["code"][name].replace(old, new)
        path.write_text(json.dumps(record))


def test_code_beside_the_class_that_changed_since_training_is_refused_and_can_be_accepted(runs, capsys):
    blend(["exp911", "exp912"], "sealed", trials=2, progress=False)
    freeze("sealed")
    blend(["exp911", "exp912"], "draft", trials=2, progress=False)
    edit_trained_code("exp911", "exps.exp911:Small", "padding=2", "padding=1, padding_mode='reflect'")
    refused = r"(?s)exps.exp911:Small changed since .*exp911/seed0/fold0 was trained: undo that.*\n\+.*padding=2"
    for act in (
        lambda: blend(["exp911", "exp912"], "other", trials=2, progress=False),
        lambda: freeze("draft"),
        lambda: ledger.test(load_decision("exp911")),
    ):
        with pytest.raises(UserError, match=refused):
            act()
    verify(load_decision("sealed"))  # its reference predictions are reproduced
    assert run(["accept", "exp911", "--reason", " "]) == 2
    assert run(["accept", "exp911", "--reason", "the same convolution"]) == 0
    assert "accepted: exps.exp911:Small" in capsys.readouterr().out
    freeze("draft")
    assert run(["accept", "exp912", "--reason", "nothing"]) == 2
    assert "nothing to accept" in capsys.readouterr().err


def test_runs_that_record_no_code_stay_valid_and_are_said_to_lack_it(runs, capsys):
    for path in run_folders.run_folder("exp911").glob("seed*/fold*/config.json"):
        record = json.loads(path.read_text())
        del record["code"]
        path.write_text(json.dumps(record))
    verify(load_decision("exp911"))
    assert "exp911 was trained by an earlier version: the code that its hooks call is not sealed" in (
        capsys.readouterr().err
    )
