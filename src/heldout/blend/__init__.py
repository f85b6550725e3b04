"""Out-of-fold probabilities in, a sealed decision out, and one test score. ``heldout.blend([...])`` makes a blend."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any


class _Callable(ModuleType):
    """This package, which notebooks call: ``import heldout as ho; ho.blend(["exp040", "exp042"])``."""

    def __call__(self, members: Sequence[str], name: str | None = None, **options: Any) -> Any:
        """As :func:`heldout.api.blend`, which lies above this package and is found by its name."""
        return importlib.import_module("heldout.api").blend(members, name, **options)


sys.modules[__name__].__class__ = _Callable
