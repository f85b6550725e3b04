"""The examples in docstrings run and give what they show."""

from __future__ import annotations

import doctest
import importlib

import pytest

from heldout.files import REPOSITORY

SOURCE = REPOSITORY / "src"
MODULES = sorted(
    ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")
    for path in (SOURCE / "heldout").rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_run(name):
    failed, tried = doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert tried
    assert not failed


def test_the_metrics_and_data_that_a_user_may_call_have_examples():
    wanted = {f"heldout.metrics.{name}" for name in ("overlap", "ranking", "calibration", "registry")}
    assert wanted | {"heldout.data.resample", "heldout.data.patches"} <= set(MODULES)
