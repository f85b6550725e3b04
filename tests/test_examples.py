"""The examples in docstrings run and give what they show."""

from __future__ import annotations

import doctest
import importlib
import inspect
import re

import pytest

import heldout
from heldout.data.sources.phantom import Phantom
from heldout.files import REPOSITORY
from heldout.tasks import Task

SOURCE = REPOSITORY / "src"
MODULES = sorted(
    ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")
    for path in (SOURCE / "heldout").rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_run(name, request, monkeypatch):
    if name == "heldout.api":  # of two runs on few phantoms, the second the better one
        monkeypatch.setattr(Phantom, "_usual", {"patients": 40, "images_per_patient": 1, "size": 32})
        for spec, skill in (("exp004", 0.5), ("exp004+lr=0.01", 1.5)):
            request.getfixturevalue("finish")(spec, seeds=(0,), skill=skill)
    failed, tried = doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert tried
    assert not failed


def test_what_a_user_may_call_or_override_has_an_example():
    wanted = {f"heldout.metrics.{name}" for name in ("overlap", "ranking", "calibration", "registry")}
    wanted |= {"heldout.api", "heldout.tasks.base", "heldout.tasks.training", "heldout.data.sources.source"}
    assert wanted | {"heldout.data.resample", "heldout.data.patches"} <= set(MODULES)
    hooks = re.findall(r"^\| `(\w+)\(", (REPOSITORY / "docs" / "hooks.md").read_text(encoding="utf-8"), re.MULTILINE)
    public = [getattr(heldout, name) for name in heldout.__all__ if callable(getattr(heldout, name))]
    assert all(">>> " in (getattr(Task, name).__doc__ or "") for name in hooks), "an example for every hook"
    assert all(">>> " in (one.__doc__ or "") for one in public if inspect.isfunction(one)), "and every function"
