"""Files of the user's own: of modules, and those that code names by strings, such as tables of numbers."""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path

from heldout import files

_LIBRARIES = {Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib", "purelib", "platlib")}
_LIBRARIES.add(Path(__file__).resolve().parents[1])
_OUTSIDE = ("working", "submissions")  # folders of the home whose files are results
_JOINED = 3  # parts of a path that stand in strings of their own


def path_of(name: str) -> Path | None:
    """File of a module of the user's own."""
    if _is_library(_origin(name.partition(".")[0])):  # before its package is imported to find the module
        return None
    path = _origin(name)
    if path is None or not path.endswith(".py"):
        return None
    return None if _is_library(path) else Path(path).resolve()


def _origin(name: str) -> str | None:
    """File that a module was loaded from, or would be."""
    if (loaded := sys.modules.get(name)) is not None:
        return getattr(loaded, "__file__", None)
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError, TypeError):  # also of a module's own ``__getattr__``
        return None
    return spec.origin if spec is not None and spec.has_location else None


def _is_library(path: str | None) -> bool:
    found = Path(path).resolve() if path else None
    return found is not None and any(found.is_relative_to(library) for library in _LIBRARIES)


def named_files(statement: ast.stmt, folder: Path) -> Iterator[Path]:
    """Files of the user's own that strings of a statement name, alone or joined.

    Args:
        statement: Of a module.
        folder: Of that module. Below it, below the project, or below the home, a file is looked for.
    """
    nodes = [node for node in ast.walk(statement) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    texts = [str(node.value) for node in sorted(nodes, key=lambda node: (node.lineno, node.col_offset))]
    bases = list(dict.fromkeys((folder, files.project(), files.home())))
    for end in [number for number, text in enumerate(texts, start=1) if "." in text]:
        for start in range(max(0, end - _JOINED), end):
            found = _file(bases, texts[start:end])
            if found is not None:
                yield found


def goes_through_package(statement: ast.stmt) -> bool:
    """Whether a statement imports modules of its own package by names that it computes."""
    names = {node.id for node in ast.walk(statement) if isinstance(node, ast.Name)}
    called = {ast.unparse(node.func).rpartition(".")[2] for node in ast.walk(statement) if isinstance(node, ast.Call)}
    imports = {"import_module", "__import__", "iter_modules", "walk_packages"} & called
    return bool(imports and names & {"__path__", "__name__", "__package__", "__file__"})


def text_of(path: Path) -> str:
    """What stands for a file among the code: that of Python by its syntax, the hash of others."""
    if path.suffix == ".py":
        with contextlib.suppress(SyntaxError, ValueError):
            return ast.unparse(ast.parse(path.read_text(encoding="utf-8")))
    return repr(f"sha256 {files.sha256_file(path)}")


def _file(bases: Sequence[Path], parts: Sequence[str]) -> Path | None:
    """The file below one of the folders that parts of a path name; None where there is none."""
    outside = [(files.home() / name).resolve() for name in _OUTSIDE]
    for base in bases:
        with contextlib.suppress(OSError, ValueError):  # too long, or no name of a file
            path = base.joinpath(*parts).resolve()
            near = any(path.is_relative_to(one.resolve()) for one in bases)
            if near and path.is_file() and not any(map(path.is_relative_to, outside)):
                return path
    return None
