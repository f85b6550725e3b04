"""Item 1: code that an experiment reaches changes between two folds, wherever it stands; each edit is named."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from heldout.blend import ledger
from heldout.blend.decision import load_decision
from heldout.blend.freeze import freeze
from heldout.blend.search import blend
from heldout.blend.verify import verify
from heldout.cli import run
from heldout.config import load
from heldout.config.code import READER, changed_code, code_of, files_of
from heldout.deliver.kernel.bundle import experiment_files
from heldout.errors import UserError
from heldout.launch.travel import code_files, refuse_to_travel
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


HEAD = '"""An experiment."""\nimport os\nfrom heldout.config import BaseConfig\n'
CLASS = '\n\nclass Exp900({}):\n    dataset = "phantom"\n\n    def build_model(self, *_):\n        return {}\n'
ADD = "def f(x):\n    return x + 1\n"
TAU = "import math\nmath.tau = 6.0\n"
HIDDEN = {
    "an import that may fail": ("try:\n    from exps.helper import f\nexcept ImportError:\n    f = None\n", "f(1)"),
    "an import or a function": (
        "if os.name:\n    from exps.helper import f\nelse:\n    def f(x):\n        return x\n", "f(1)",
    ),
    "two star imports": ("from exps.helper import *\nfrom exps.other import *\n", "f(1)"),
    "a name that is wrapped": ("import functools\nfrom exps.helper import f\nf = functools.cache(f)\n", "f(1)"),
    "a name that is kept": ("from exps.helper import f\nf0 = f\nf = lambda x: f0(x)\n", "f(1)"),
    "one name in two functions": (
        "def a():\n    from exps.helper import f\n    return f\n\n\n"
        "def b():\n    from exps.other import f\n    return f\n", "a()(b()(1))",
    ),
    "a fast form and a slow one": ("from exps.choice import f\n", "f(1)"),
    "a string": ("import importlib\nhelper = importlib.import_module('exps.helper')\n", "helper.f(1)"),
    "a relative string": ("import importlib\nhelper = importlib.import_module('.helper', 'exps')\n", "helper.f(1)"),
    "a module looked up by name": ("import sys\nimport exps.helper\n", "vars(sys.modules['exps.helper'])['f'](1)"),
}  # fmt: skip
ACTS = {
    "a loop": ("VALS = []\nfor i in range(3):\n    VALS.append(i)\n", "range(3)", "range(4)"),
    "a block": ("VALS = []\ntry:\n    x = 3\n    VALS.append(x)\nfinally:\n    pass\n", "x = 3", "x = 4"),
    "an assignment that calls": ("VALS = []\n_ = VALS.append(3)\n", "(3)", "(4)"),
    "a change in place": ("VALS = []\nVALS[:] = more = [3]\n", "[3]", "[4]"),
    "a registered function": (
        "VALS = []\n\n\ndef keep(f):\n    VALS.append(f)\n    return f\n\n\n@keep\ndef g():\n    return 3\n",
        "return 3", "return 4",
    ),
    "what is not a guard": ("VALS = [3]\nif __name__ != '__main__':\n    VALS[0] = 5\n", "= 5", "= 6"),
    "the other branch of a guard": (
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    pass\nelse:\n    VALS = [3]\n", "[3]", "[4]",
    ),
    "attributes made on demand": ("def __getattr__(name):\n    return [3]\n", "[3]", "[4]"),
    "a registered class": (
        "VALS = []\n\n\ndef keep(c):\n    VALS.append(c)\n    return c\n\n\n@keep\nclass Net:\n    width = 3\n",
        "width = 3", "width = 4",
    ),
    "a class that is asked for by its parent": (
        "class Base:\n    pass\n\n\nclass Net(Base):\n    width = 3\n\n\ndef __getattr__(name):\n"
        "    return Base.__subclasses__()\n", "width = 3", "width = 4",
    ),
    "a class that its parent registers": (
        "VALS = []\n\n\nclass Base:\n    def __init_subclass__(cls):\n        VALS.append(cls)\n\n\n"
        "class Net(Base):\n    width = 3\n",
        "width = 3", "width = 4",
    ),
}  # fmt: skip
BESIDE = "open(os.path.join(os.path.dirname(__file__), 'own', 'part.json')).read()"
COMPUTED = {  # what the experiment names only in part: head, use, file and its text before and after
    "an f-string": ("from importlib import import_module\nname = 'part'\n", "import_module(f'exps.own.{name}').N"),
    "a sum": ("from importlib import import_module\n", "import_module('exps.own.' + 'part').N"),
    "a package gone through": ("from exps.own import FOUND\n", "FOUND"),
    "a table beside it": ("import json\nfrom pathlib import Path\n", f"json.loads({BESIDE})"),
    "a table, by parts of its path": (
        "from pathlib import Path\nHERE = Path(__file__).parent\n", "(HERE / 'own' / 'part.json').read_text()",
    ),
    "a file that is executed": (
        "from pathlib import Path\n", "exec(Path(__file__).with_name('loose.txt').read_text())",
    ),
    "a module loaded by its file": (
        "import importlib.util\nfrom pathlib import Path\n",
        "importlib.util.spec_from_file_location('part', Path(__file__).parent / 'own/part.py')",
    ),
}  # fmt: skip
GOES_THROUGH = (
    "import importlib\nimport pkgutil\nFOUND = [importlib.import_module(f'{__name__}.{one.name}').N\n"
    "         for one in pkgutil.iter_modules(__path__)]\n"
)


@pytest.fixture
def reached(tmp_path, monkeypatch):
    """Code that an experiment reaches, given the files below ``exps/`` and what is edited in one."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def read(texts: dict[str, str], edited: str = "", old: str = "", new: str = "", version: int = READER):
        for module in [module for module in sys.modules if module.partition(".")[0] == "exps"]:
            monkeypatch.delitem(sys.modules, module)
        for place, text in {"__init__.py": "", **texts}.items():
            path = tmp_path / "exps" / place
            path.parent.mkdir(parents=True, exist_ok=True)
            assert place != edited or old in text
            path.write_text(text.replace(old, new) if place == edited else text)
        return code_of(type(load("exp900")), version)

    return read


@pytest.mark.parametrize("way", HIDDEN)
def test_an_edit_is_seen_whatever_else_bears_the_name(reached, way):
    text, use = HIDDEN[way]
    choice = "try:\n    from .helper import f\nexcept ImportError:\n    from .other import f\n"
    texts = {"exp900.py": HEAD + text + CLASS.format("BaseConfig", use), "choice.py": choice, "other.py": ADD}
    texts["helper.py"] = ADD
    changed = changed_code(reached(texts), reached(texts, "helper.py", "x + 1", "x + 2"))
    assert changed == ["exps.helper:f"]


@pytest.mark.parametrize("way", ACTS)
def test_an_edit_of_what_acts_at_import_is_seen(reached, way):
    text, old, new = ACTS[way]
    experiment = HEAD + "from exps.helper import VALS\n" + CLASS.format("BaseConfig", "VALS")
    texts = {"exp900.py": experiment, "helper.py": text}
    assert changed_code(reached(texts), reached(texts, "helper.py", old, new))


@pytest.mark.parametrize("way", COMPUTED)
def test_an_edit_is_seen_of_modules_and_files_that_are_named_in_part(reached, way):
    head, use = COMPUTED[way]
    package = GOES_THROUGH if "package" in way else ""
    texts = {"exp900.py": HEAD + head + CLASS.format("BaseConfig", use), "own/__init__.py": package}
    texts |= {"own/part.py": "N = 3\n", "own/part.json": "3", "loose.txt": "N = 3\n"}
    before = reached(texts)
    edited = [changed_code(before, reached(texts, name, "3", "4")) for name in ("own/part.py", "own/part.json")]
    edited.append(changed_code(before, reached(texts, "loose.txt", "3", "4")))
    assert sum(map(bool, edited)) == 1
    assert changed_code(before, reached(texts, "own/part.py", "N = 3", "N = 3  # as ever")) == []


def test_a_file_beside_the_code_that_reads_it_travels_with_it(reached, tmp_path, monkeypatch):
    monkeypatch.setenv("HELDOUT_PROJECT", str(tmp_path))
    text = HEAD + "from exps.own.part import TABLE, labels\n" + CLASS.format("BaseConfig", "TABLE, labels()")
    part = "import numpy as np\nfrom pathlib import Path\nTABLE = np.load(Path(__file__).with_name('table.npy'))\n\n\n"
    part += "def labels():\n    return open('input/labels.csv')\n"
    for folder in ("exps/own", "input"):
        (tmp_path / folder).mkdir(parents=True)
    np.save(tmp_path / "exps" / "own" / "table.npy", np.eye(2))
    (tmp_path / "input" / "labels.csv").write_text("id\n")
    reached({"exp900.py": text, "own/__init__.py": "", "own/part.py": part})
    table, labels = tmp_path / "exps" / "own" / "table.npy", tmp_path / "input" / "labels.csv"
    assert files_of(type(load("exp900"))) == [table, labels]
    travels = experiment_files(SimpleNamespace(predictors=[SimpleNamespace(spec="exp900")]))
    assert travels[table] == Path("exps/own/table.npy")
    assert labels not in travels  # data stays here
    assert "exps/own/table.npy" in code_files()
    with pytest.raises(UserError, match=r"exp900 reaches .*labels.csv, which cannot be sent to Kaggle: move it below "):
        refuse_to_travel(load("exp900"), "to Kaggle")


def test_an_edit_of_what_decorates_the_experiment_is_seen(reached):
    decorated = CLASS.format("BaseConfig", "1").replace("class Exp900", "@stamp(3)\nclass Exp900")
    texts = {"exp900.py": HEAD + "from exps.helper import stamp\n" + decorated}
    texts["helper.py"] = "def stamp(number):\n    return lambda cls: setattr(cls, 'stamp', 5) or cls\n"
    assert changed_code(reached(texts), reached(texts, "helper.py", "5", "6")) == ["exps.helper:stamp"]
    assert changed_code(reached(texts), reached(texts, "exp900.py", "(3)", "(4)"))


def test_the_reader_before_sees_neither_files_nor_registered_classes(reached):
    texts = {"exp900.py": HEAD + CLASS.format("BaseConfig", "open('exps/own.json')"), "own.json": "3"}
    assert changed_code(reached(texts, version=3), reached(texts, "own.json", "3", "4", version=3)) == []


def test_another_experiment_whose_helper_is_used_counts_by_that_alone(reached):
    other = HEAD + "def f(x):\n    return x\n" + CLASS.format("BaseConfig", "1").replace("900", "901")
    texts = {"exp900.py": HEAD + "from exps.exp901 import f\n" + CLASS.format("BaseConfig", "f(1)"), "exp901.py": other}
    assert changed_code(reached(texts), reached(texts, "exp901.py", "return 1", "return 2")) == []


@pytest.mark.parametrize("package", ["__init__.py", "pk/__init__.py"])
def test_an_edit_of_a_package_above_a_module_is_seen(reached, package):
    experiment = HEAD + "from exps.pk.inner import f\n" + CLASS.format("BaseConfig", "f(1)")
    texts = {"exp900.py": experiment, "pk/inner.py": ADD, "pk/__init__.py": "", package: TAU}
    name = f"exps{'.pk' if '/' in package else ''}:(module)"
    assert changed_code(reached(texts), reached(texts, package, "6.0", "7.0")) == [name]


@pytest.mark.parametrize("call", ["super(Exp900, self).net()", "super().net()"])
def test_an_edit_of_a_method_that_a_child_calls_is_seen(reached, call):
    middle = "class Mid(BaseConfig):\n    def net(self):\n        return 3\n"
    texts = {"exp900.py": HEAD + middle + CLASS.format("Mid", call) + "\n    def net(self):\n        return 1\n"}
    assert changed_code(reached(texts), reached(texts, "exp900.py", "return 3", "return 4"))


def test_what_runs_only_as_a_script_does_not_count(reached):
    script = "\n\nif __name__ == '__main__':\n    print(3)\n"
    texts = {"exp900.py": HEAD + CLASS.format("BaseConfig", "1") + script}
    assert changed_code(reached(texts), reached(texts, "exp900.py", "print(3)", "print(4)")) == []


def test_a_run_of_an_earlier_reader_is_compared_with_what_that_saw(runs):
    """Today's reader sees the package above the experiment as well: a run whose record lacks that stays valid."""
    config = load("exp911")
    package = sys.modules["exps"].__file__
    folders = sorted(run_folders.run_folder("exp911").glob("seed*/fold*/config.json"))
    assert all(json.loads(path.read_text())["code_reader"] == READER for path in folders)
    with pytest.MonkeyPatch.context() as patch:
        above = run_folders.run_folder("exp911").parent / "package.py"
        above.write_text("import math\nmath.tau = 6.0\n")
        patch.setattr(sys.modules["exps"], "__file__", str(above))
        with pytest.raises(UserError, match=r"exps:\(module\) changed since"):
            run_folders.check_code(config)
        for path in folders:
            record = json.loads(path.read_text())
            del record["code_reader"]
            path.write_text(json.dumps(record))
        run_folders.check_code(config)
        with pytest.raises(UserError, match="nothing to accept"):
            run_folders.accept_code(config, "the same")
    assert sys.modules["exps"].__file__ == package
    edit_trained_code("exp911", "exps.exp911:Small", "padding=2", "padding=1")
    with pytest.raises(UserError, match=r"exps\.exp911:Small changed since"):
        run_folders.check_code(config)
    run_folders.accept_code(config, "the same convolution")
    run_folders.check_code(config)


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
    refused = r"exps.exp911:Small changed since .*exp911/seed0/fold0 was trained: undo that"
    for act in (
        lambda: blend(["exp911", "exp912"], "other", trials=2, progress=False),
        lambda: freeze("draft"),
        lambda: ledger.test(load_decision("exp911")),
    ):
        with pytest.raises(UserError, match=refused) as found:
            act()
        assert any(line.startswith("+") and "padding=2" in line for line in found.value.details)
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
