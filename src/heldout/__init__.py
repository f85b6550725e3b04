"""heldout: a fold-and-ensemble harness for medical imaging whose every number comes from held-out patients.

In notebooks, ``import heldout as ho`` gives :func:`~heldout.api.run`, :func:`~heldout.api.blend`,
:func:`~heldout.api.leaderboard` and :func:`~heldout.api.compare`; in the files of ``exps/``, ``ho.metric`` marks a
competition's own metric.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heldout.api import Figure, Run, compare, leaderboard, run
    from heldout.config.metric import metric

__all__ = ["Figure", "Run", "__version__", "compare", "leaderboard", "metric", "run"]
__version__ = "0.1.0"

_HOMES = dict.fromkeys(("Figure", "Run", "compare", "leaderboard", "run"), "heldout.api")
_HOMES["metric"] = "heldout.config.metric"


class CallablePackage(ModuleType):
    """A package that notebooks call by its name, as ``ho.blend(["exp040", "exp042"])``; see :mod:`heldout.api`."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """What the function of this name in :mod:`heldout.api` returns."""
        name = self.__name__.rpartition(".")[2]
        return getattr(importlib.import_module("heldout.api"), name)(*arguments, **options)


def __getattr__(name: str) -> Any:
    """Import what is used when it is used, so that ``import heldout`` stays light."""
    if name == "blend":  # a package that can be called
        return importlib.import_module("heldout.blend")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'heldout' has no attribute {name!r}")
