"""The code that an experiment reaches in the user's own modules, by syntax: comments and layout do not count.

The fields of a run are compared by their values and its hooks by their hashes. Here is what those call: helper
functions and classes, constants, properties and static methods, in the experiment's file and in modules beside it.
"""

from __future__ import annotations

import ast
import difflib
import importlib.util
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path

_LIBRARIES = {Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib", "purelib", "platlib")}
_LIBRARIES.add(Path(__file__).resolve().parents[1])
_DEFINES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def code_of(experiment: type) -> dict[str, str]:
    """Source without comments and docstrings of all that an experiment reaches, by ``module:name``.

    Args:
        experiment: Its class.
    """
    reader = _Reader()
    own = [cls for cls in experiment.__mro__ if reader.module(cls.__module__) is not None]
    for position, cls in enumerate(own):
        reader.read_class(cls, own[:position])
    return dict(sorted(reader.found.items()))


def code_below(module: str, name: str) -> dict[str, str]:
    """Source, as :func:`code_of` gives it, of a name of one of the user's modules and of all that it reaches."""
    reader = _Reader()
    reader.read(module, name)
    return dict(sorted(reader.found.items()))


def changed_code(old: dict[str, str], new: dict[str, str]) -> list[str]:
    """Names whose code differs, however it was written down."""
    return [name for name in sorted(old.keys() | new.keys()) if _tree(old.get(name)) != _tree(new.get(name))]


def code_diff(old: dict[str, str], new: dict[str, str], name: str) -> str:
    """Unified diff of the code under a name."""
    before, after = old.get(name, "").splitlines(), new.get(name, "").splitlines()
    return "\n".join(difflib.unified_diff(before, after, f"{name} as trained", f"{name} today", lineterm=""))


def _tree(text: str | None) -> str | None:
    return None if text is None else ast.dump(ast.parse(text))


class _Module:
    """One of the user's modules."""

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self.package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        self.tree = ast.parse(path.read_text(encoding="utf-8"), str(path))

    @cached_property
    def imports(self) -> dict[str, tuple[str, str | None]]:
        """Module and attribute (None: the module itself) behind every imported name, inside functions too."""
        found: dict[str, tuple[str, str | None]] = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for one in node.names:
                    found[one.asname or one.name.partition(".")[0]] = (
                        one.name if one.asname else one.name.partition(".")[0],
                        None,
                    )
            elif isinstance(node, ast.ImportFrom):
                base = importlib.util.resolve_name("." * node.level + (node.module or ""), self.package)
                found |= {one.asname or one.name: (base, one.name) for one in node.names}
        return found

    @cached_property
    def imported(self) -> set[str]:
        """Dotted names of all modules that it may import, whether or not anything of them is used."""
        plain = [one.name for node in ast.walk(self.tree) if isinstance(node, ast.Import) for one in node.names]
        of_names = [name for base, attribute in self.imports.values() for name in (base, f"{base}.{attribute}")]
        return {*plain, *of_names}

    @cached_property
    def statements(self) -> dict[str, list[ast.stmt]]:
        """Top-level statements by the names that they bind; those that bind none, and so act, under ``""``."""
        found: dict[str, list[ast.stmt]] = {}
        for statement in self.tree.body:
            if isinstance(statement, ast.Import | ast.ImportFrom) or _is_text(statement) or _is_guard(statement):
                continue
            for name in set(_bound(statement)) or {""}:
                found.setdefault(name, []).append(statement)
        return found


class _Reader:
    """Collects code, name by name."""

    def __init__(self) -> None:
        self.found: dict[str, str] = {}
        self._modules: dict[str, _Module | None] = {}
        self._seen: set[tuple[str, str]] = set()

    def module(self, name: str) -> _Module | None:
        """A module of the user's own; None for a library's."""
        if name not in self._modules:
            path = _path_of(name)
            found = self._modules[name] = _Module(name, path) if path is not None else None
            if found is not None:
                self.read(name, "")
                for other in sorted(found.imported):  # what acts when it is imported counts, used or not
                    self.module(other)
        return self._modules[name]

    def read_class(self, cls: type, children: Iterable[type]) -> None:
        """What a class of the experiment adds to those below it; its fields are compared by their values."""
        module = self.module(cls.__module__)
        assert module is not None, "only the user's own classes are read"
        fields = getattr(cls, "model_fields", {})
        for node in module.statements.get(cls.__name__, []):
            for member in node.body if isinstance(node, ast.ClassDef) else []:
                for name in set(_bound(member)) - set(fields):
                    if all(name not in vars(child) or self._calls_super(child, name) for child in children):
                        self._keep(module, f"{cls.__name__}.{name}", [member])

    def _calls_super(self, cls: type, name: str) -> bool:
        text = self.found.get(f"{cls.__module__}:{cls.__name__}.{name}", "")
        return "super()" in text

    def read(self, module_name: str, name: str) -> None:
        """What a name of a module refers to, wherever it is defined."""
        module = self.module(module_name)
        if module is None or (module_name, name) in self._seen:
            return
        self._seen.add((module_name, name))
        if name in module.statements:
            self._keep(module, name or "(module)", module.statements[name])
        elif name in module.imports:
            self._follow(*module.imports[name])
        elif "*" in module.imports and name:
            self.read(module.imports["*"][0], name)

    def _follow(self, module_name: str, name: str | None) -> None:
        """An imported module or name: of a module that is passed around all counts."""
        if name is not None and self.module(f"{module_name}.{name}") is not None:
            module_name, name = f"{module_name}.{name}", None
        module = self.module(module_name)
        for one in [name] if name is not None else list(module.statements) if module else []:
            self.read(module_name, one)

    def _keep(self, module: _Module, name: str, statements: list[ast.stmt]) -> None:
        self.found[f"{module.name}:{name}"] = "\n".join(ast.unparse(_without_text(one)) for one in statements)
        inner = {id(node.value) for one in statements for node in ast.walk(one) if isinstance(node, ast.Attribute)}
        for statement in statements:
            for node in ast.walk(statement):
                if isinstance(node, ast.Attribute | ast.Name) and id(node) not in inner:
                    self._use(module, _chain(node))

    def _use(self, module: _Module, chain: list[str]) -> None:
        """A dotted name: of modules only the attribute that is used counts."""
        if not chain:
            return
        name, *rest = chain
        if name in module.statements or name not in module.imports:
            self.read(module.name, name)
            return
        target, attribute = module.imports[name]
        if attribute is not None and self.module(f"{target}.{attribute}") is not None:
            target, attribute = f"{target}.{attribute}", None
        while attribute is None and rest:
            first = rest.pop(0)
            if self.module(f"{target}.{first}") is not None:
                target = f"{target}.{first}"
            else:
                attribute = first
        self._follow(target, attribute)


def _path_of(name: str) -> Path | None:
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
    except (ImportError, ValueError, AttributeError):
        return None
    return spec.origin if spec is not None and spec.has_location else None


def _is_library(path: str | None) -> bool:
    found = Path(path).resolve() if path else None
    return found is not None and any(found.is_relative_to(library) for library in _LIBRARIES)


def _bound(statement: ast.AST) -> Iterator[str]:
    """Names that a statement binds in its own scope."""
    if isinstance(statement, _DEFINES):
        yield statement.name
        return
    if isinstance(statement, ast.Name) and isinstance(statement.ctx, ast.Store):
        yield statement.id
    for child in ast.iter_child_nodes(statement):
        if not isinstance(child, ast.Lambda | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
            yield from _bound(child)


def _chain(node: ast.expr) -> list[str]:
    """``a.b.c`` as its names; empty where it does not begin with a name."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.insert(0, node.attr)
        node = node.value
    return [node.id, *names] if isinstance(node, ast.Name) else []


def _is_text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _is_guard(statement: ast.stmt) -> bool:
    """``if TYPE_CHECKING`` and ``if __name__ == "__main__"``, which do nothing when the module is imported."""
    return isinstance(statement, ast.If) and ast.unparse(statement.test).partition(" ")[0] in (
        "TYPE_CHECKING",
        "typing.TYPE_CHECKING",
        "__name__",
    )


def _without_text(statement: ast.stmt) -> ast.stmt:
    """A copy without docstrings."""
    copy = ast.parse(ast.unparse(statement)).body[0]
    for node in ast.walk(copy):
        if isinstance(node, _DEFINES):
            node.body = [one for one in node.body if not _is_text(one)] or [ast.Pass()]
    return copy
