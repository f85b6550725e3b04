"""Experiments of a test's own, as the tests of training have them."""

from __future__ import annotations

from tests.train.conftest import experiments, squares

__all__ = ["experiments", "squares"]
