"""timm and segmentation_models_pytorch, imported without ``torch._dynamo``, which takes longer to import than both.

They need it for two things only: the function ``is_compile_supported`` of torchvision's ``roi_align``, and the
decorator ``torch.compiler.disable`` on a method of NaFlexVit. Until one of the two is called, stand-ins do.
"""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any
from unittest.mock import patch

import torch

_UTILS = "torch._dynamo.utils"


class _Utils(ModuleType):
    """Stands for ``torch._dynamo.utils`` in ``sys.modules``; imports it when anything of it is used."""

    def is_compile_supported(self, device: str) -> bool:
        """Whether code for a device can be compiled."""
        return bool(_real_utils().is_compile_supported(device))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(_real_utils(), name)


def _real_utils() -> ModuleType:
    if isinstance(sys.modules.get(_UTILS), _Utils):
        del sys.modules[_UTILS]
    return importlib.import_module(_UTILS)


def _disable(function: Callable[..., Any]) -> Callable[..., Any]:
    """``torch.compiler.disable`` that imports the compiler when the function is called."""

    @functools.wraps(function)
    def call(*arguments: Any, **options: Any) -> Any:
        return torch.compiler.disable(function)(*arguments, **options)

    return call


@contextmanager
def _without_dynamo() -> Iterator[None]:
    if _UTILS in sys.modules:
        yield
        return
    sys.modules[_UTILS] = _Utils(_UTILS)
    try:
        with patch.object(torch.compiler, "disable", _disable):
            yield
    finally:
        if isinstance(sys.modules.get(_UTILS), _Utils):
            del sys.modules[_UTILS]


with _without_dynamo():
    import segmentation_models_pytorch as smp
    import timm

__all__ = ["smp", "timm"]
