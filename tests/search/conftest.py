"""A search trains on the small dataset of the tests of training."""

from tests.train.conftest import experiments, squares

__all__ = ["experiments", "squares"]
