"""The code that an experiment reaches in the user's own modules, by syntax: comments and layout do not count.

The fields of a run are compared by their values and its hooks by their hashes. Here is what those call: helper
functions and classes, constants, properties and static methods, in the experiment's file and in modules beside it, and
all that acts when these are imported. Modules are found by their imports, and by strings that name them; files that
these read, by strings that name files. What is taken out of ``sys.modules`` by a computed name, or made at run time, is
not seen.
"""

from __future__ import annotations

import ast
import difflib
import importlib.util
from collections.abc import Collection, Iterable, Iterator
from functools import cached_property
from pathlib import Path

from heldout.config.classes import chain, find_class, is_registered, parents
from heldout.config.own_files import goes_through_package, named_files, path_of, text_of

READER = 4  # what today's runs record
WITHOUT_FILES = 3  # saw no files that the code reads, no classes that act where they are made, no packages gone through
WITH_POSTPROCESSING = 2  # took the hook that decisions pin for part of training
EARLIER = 1  # saw no second meaning of a name, no effects of compound statements, no packages above a module
# hooks that act on blends alone
POSTPROCESS = ("postprocess", "postprocess_slices", "postprocess_table", "postprocess_detections")
_DEFINES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def code_of(experiment: type, version: int = READER) -> dict[str, str]:
    """Source without comments and docstrings of all that an experiment reaches, by ``module:name``.

    Args:
        experiment: Its class.
        version: Of the reader: runs of ``EARLIER`` ones are compared with what that saw.
    """
    return dict(sorted(_read(experiment, version).found.items()))


def files_of(experiment: type) -> list[Path]:
    """Files of the user's own, such as tables of numbers, that the code of :func:`code_of` names, sorted."""
    return sorted(_read(experiment, READER).files)


def _read(experiment: type, version: int) -> _Reader:
    reader = _Reader(version)
    reader.experiment = {(cls.__module__, cls.__name__) for cls in experiment.__mro__}
    own = [cls for cls in experiment.__mro__ if reader.module(cls.__module__) is not None]
    for position, cls in enumerate(own):
        reader.read_class(cls, own[:position])
    reader.read_children()
    return reader


def own_postprocessing(experiment: type) -> list[str]:
    """Those of the hooks :data:`POSTPROCESS` that an experiment defines itself."""
    return [name for name in POSTPROCESS if name in vars(experiment)]


def code_of_postprocessing(experiment: type, version: int = READER) -> dict[str, str]:
    """Source, as :func:`code_of` gives it, of an experiment's hooks :data:`POSTPROCESS` and all they reach."""
    reader = _Reader(version)
    own = [cls for cls in experiment.__mro__ if reader.module(cls.__module__) is not None]
    reader.found.clear()  # what acts on import is of training, and counts here only where the hook reaches it too
    reader.seen.clear()
    names, more = set[str](), {*POSTPROCESS}
    while more:  # members that it reaches through self
        names |= more
        for cls in own:
            reader.read_members(cls, names)
        nodes = [node for text in reader.found.values() for node in ast.walk(ast.parse(text))]
        more = {
            node.attr
            for node in nodes
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
        } - {*names, *getattr(experiment, "model_fields", {})}
    return dict(sorted(reader.found.items()))


def code_below(module: str, name: str, version: int = READER) -> dict[str, str]:
    """Source, as :func:`code_of` gives it, of a name of one of the user's modules and of all that it reaches."""
    reader = _Reader(version)
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

    def __init__(self, name: str, path: Path, version: int) -> None:
        self.name = name
        self.package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        self.folder = path.parent
        self.tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
        self.version = version

    @cached_property
    def imports(self) -> dict[str, list[tuple[str, str | None]]]:
        """Modules and attributes (None: the module itself) behind every imported name, inside functions too."""
        found: dict[str, list[tuple[str, str | None]]] = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for one in node.names:
                    top = one.name.partition(".")[0]
                    found.setdefault(one.asname or top, []).append((one.name if one.asname else top, None))
            elif isinstance(node, ast.ImportFrom):
                base = importlib.util.resolve_name("." * node.level + (node.module or ""), self.package)
                for one in node.names:
                    found.setdefault(one.asname or one.name, []).append((base, one.name))
        return found if self.version > EARLIER else {name: targets[-1:] for name, targets in found.items()}

    @cached_property
    def imported(self) -> set[str]:
        """Dotted names of all modules that it may import, whether or not anything of them is used."""
        plain = [one.name for node in ast.walk(self.tree) if isinstance(node, ast.Import) for one in node.names]
        of_names = [
            name for one in self.imports.values() for base, attribute in one for name in (base, f"{base}.{attribute}")
        ]
        return {*plain, *of_names}

    @cached_property
    def statements(self) -> dict[str, list[ast.stmt]]:
        """Top-level statements by the names that they bind; those that act under ``""``, alone or besides."""
        found: dict[str, list[ast.stmt]] = {}
        for statement in self._run(self.tree.body):
            names = set(_bound(statement))
            for name in sorted(names | {""} if not names or self._acts(statement) else names):
                found.setdefault(name, []).append(statement)
        return found

    def _run(self, body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
        """Statements that run when the module is imported, other than imports."""
        for statement in body:
            if isinstance(statement, ast.If) and _is_guard(statement, self.version):
                yield from self._run(statement.orelse if self.version > EARLIER else [])
            elif not isinstance(statement, ast.Import | ast.ImportFrom) and not _is_text(statement):
                yield statement

    def _acts(self, statement: ast.stmt) -> bool:
        """Whether a statement that binds names may do more: a block, a change in place, a call of the user's own."""
        if self.version == EARLIER or isinstance(statement, ast.ClassDef):
            return False
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            return self.is_decorated(statement)
        if not isinstance(statement, ast.Assign | ast.AnnAssign):
            return True
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        stored = [node for one in targets for node in ast.walk(one)]
        called = [node.func for node in ast.walk(statement) if isinstance(node, ast.Call)]
        return any(isinstance(node, ast.Attribute | ast.Subscript) for node in stored) or any(map(self._is_own, called))

    def is_decorated(self, statement: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> bool:
        """Whether the user's own code gets a function or class where it is made."""
        return any(self._is_own(one.func if isinstance(one, ast.Call) else one) for one in statement.decorator_list)

    def _is_own(self, function: ast.expr) -> bool:
        """Whether a name that is called is bound by the module, or imported from another of the user's own."""
        name = (chain(function) or [""])[0]
        if any(path_of(base) is not None for base, _ in self.imports.get(name, [])):
            return True
        return any(name in _bound(one) for one in self.tree.body)


class _Reader:
    """Collects code, name by name."""

    def __init__(self, version: int) -> None:
        self.version = version
        self.found: dict[str, str] = {}
        self.files: set[Path] = set()
        self.experiment: set[tuple[str, str]] = set()  # module and name of its classes, read member by member
        self._asked: set[tuple[str, str]] = set()  # module and name of classes that are asked for their children
        self._modules: dict[str, _Module | None] = {}
        self.seen: set[tuple[str, str]] = set()

    def module(self, name: str) -> _Module | None:
        """A module of the user's own; None for a library's."""
        if name not in self._modules:
            path = path_of(name)
            found = self._modules[name] = _Module(name, path, self.version) if path is not None else None
            if found is not None:
                if self.version > EARLIER and (package := name.rpartition(".")[0]):
                    self.module(package)  # it runs first
                self.read(name, "")
                for other in sorted(found.imported):  # what acts when it is imported counts, used or not
                    self.module(other)
                if self.version > WITHOUT_FILES:
                    self._read_registered(found)
        return self._modules[name]

    def _read_registered(self, module: _Module) -> None:
        """Classes that something of the user's own acts on where they are made."""
        for node in self._classes(module):
            if module.is_decorated(node) or is_registered((module, node), self.module):
                self.read(module.name, node.name)

    def read_children(self) -> None:
        """Classes that are found through ``__subclasses__`` of a parent."""
        wanted, self._asked = self._asked, set()
        for module in filter(None, list(self._modules.values())):
            for node in self._classes(module):
                if wanted & {(one.name, cls.name) for one, cls in parents((module, node), self.module)}:
                    self.read(module.name, node.name)
        if self._asked:
            self.read_children()

    def _classes(self, module: _Module) -> Iterator[ast.ClassDef]:
        """Classes of a module, without those of the experiment."""
        for node in module.tree.body:
            if isinstance(node, ast.ClassDef) and (module.name, node.name) not in self.experiment:
                yield node

    def read_class(self, cls: type, children: Iterable[type]) -> None:
        """What a class of the experiment adds to those below it; its fields are compared by their values."""
        module = self.module(cls.__module__)
        assert module is not None, "only the user's own classes are read"
        fields = getattr(cls, "model_fields", {})
        for node in module.statements.get(cls.__name__, []):
            if isinstance(node, ast.ClassDef) and node.decorator_list and self.version > WITHOUT_FILES:
                header = ast.ClassDef(node.name, [], [], [ast.Pass()], node.decorator_list)
                self._keep(module, f"{cls.__name__} (decorators)", [header])
            for member in node.body if isinstance(node, ast.ClassDef) else []:
                for name in set(_bound(member)) - set(fields) - self._later():
                    if all(name not in vars(child) or self._calls_super(child, name) for child in children):
                        self._keep(module, f"{cls.__name__}.{name}", [member])

    def read_members(self, cls: type, names: Collection[str]) -> None:
        """Some members of a class, and all that they reach."""
        module = self.module(cls.__module__)
        assert module is not None, "only the user's own classes are read"
        for node in module.statements.get(cls.__name__, []):
            for member in node.body if isinstance(node, ast.ClassDef) else []:
                for name in set(_bound(member)) & set(names):
                    self._keep(module, f"{cls.__name__}.{name}", [member])

    def _later(self) -> set[str]:
        return {*POSTPROCESS} if self.version > WITH_POSTPROCESSING else set()

    def _calls_super(self, cls: type, name: str) -> bool:
        prefix = f"{cls.__module__}:{cls.__name__}."
        if self.version == EARLIER:
            return "super()" in self.found.get(prefix + name, "")
        members = [text for key, text in self.found.items() if key.startswith(prefix)]
        return any("super(" in text and name in text for text in members)

    def read(self, module_name: str, name: str) -> None:
        """What a name of a module refers to, wherever it is defined: all of it where that is in several places."""
        module = self.module(module_name)
        if module is None or (module_name, name) in self.seen:
            return
        self.seen.add((module_name, name))
        whole = self.version > EARLIER
        if name in module.statements:
            self._keep(module, name or "(module)", module.statements[name])
            if not whole:
                return
        for target in module.imports.get(name, []):
            self._follow(*target)
        if name and (whole or name not in module.imports):
            for starred, _ in module.imports.get("*", []):
                self.read(starred, name)
            if whole and name not in module.statements:
                self.read(module_name, "__getattr__")

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
                    self._use(module, chain(node))
                elif isinstance(node, ast.Constant | ast.Call) and self.version > EARLIER:
                    self._use_text(module, node)
            if self.version > WITHOUT_FILES:
                for path in named_files(statement, module.folder):
                    self.files.add(path)
                    self.found[f"{module.name}:{path.name}"] = text_of(path)
                if goes_through_package(statement):
                    self._follow_package(module.package)

    def _use(self, module: _Module, names: list[str]) -> None:
        """A dotted name: of modules only the attribute that is used counts."""
        if not names:
            return
        name, *rest = names
        if self.version > WITHOUT_FILES and rest[-1:] == ["__subclasses__"]:
            parent = find_class(module, names[:-1], self.module)
            self._asked |= {(parent[0].name, parent[1].name)} if parent is not None else set()
        if name in module.statements or name not in module.imports:
            self.read(module.name, name)
            return
        for target, attribute in module.imports[name]:
            self._use_import(target, attribute, rest)

    def _use_import(self, target: str, attribute: str | None, rest: list[str]) -> None:
        if attribute is not None and self.module(f"{target}.{attribute}") is not None:
            target, attribute = f"{target}.{attribute}", None
        for first in rest:
            if attribute is not None:
                break
            if self.module(f"{target}.{first}") is not None:
                target = f"{target}.{first}"
            else:
                attribute = first
        self._follow(target, attribute)

    def _use_text(self, module: _Module, node: ast.Constant | ast.Call) -> None:
        """A string that names a module beside this one, or any module in a call of ``import_module``."""
        if isinstance(node, ast.Constant):
            name = node.value if isinstance(node.value, str) else ""
            near = "." in name and name.partition(".")[0] == module.name.partition(".")[0]
        else:
            first = node.args[0] if node.args else None
            name = first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else ""
            near = ast.unparse(node.func).rpartition(".")[2] in ("import_module", "__import__")
            if near and name.startswith(".") and module.package:
                name = importlib.util.resolve_name(name, module.package)
        if near and all(part.isidentifier() for part in name.split(".")):
            self._follow(name, None)
        elif name.endswith(".") and self.version > WITHOUT_FILES:  # what follows is computed
            self._follow_package(name.rstrip("."))

    def _follow_package(self, name: str) -> None:
        """All modules of a package and of those below it, save experiments."""
        found = self.module(name) if name and all(part.isidentifier() for part in name.split(".")) else None
        if found is None or found.package != name:
            return
        for path in sorted(found.folder.rglob("*.py")):
            parts = path.relative_to(found.folder).with_suffix("").parts
            if not parts[-1].startswith("exp"):
                self._follow(".".join([name, *(part for part in parts if part != "__init__")]), None)


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


def _is_text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _is_guard(statement: ast.If, version: int) -> bool:
    """``if TYPE_CHECKING`` and ``if __name__ == "__main__"``, whose body does nothing when the module is imported."""
    test = ast.unparse(statement.test)
    if version == EARLIER:
        return test.partition(" ")[0] in ("TYPE_CHECKING", "typing.TYPE_CHECKING", "__name__")
    return test in ("TYPE_CHECKING", "typing.TYPE_CHECKING", "__name__ == '__main__'")


def _without_text(statement: ast.stmt) -> ast.stmt:
    """A copy without docstrings."""
    copy = ast.parse(ast.unparse(statement)).body[0]
    for node in ast.walk(copy):
        if isinstance(node, _DEFINES):
            node.body = [one for one in node.body if not _is_text(one)] or [ast.Pass()]
    return copy
