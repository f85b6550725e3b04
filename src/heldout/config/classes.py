"""Parents of classes by their syntax: which of the user's own classes act where a child of them is made."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from typing import Protocol

_DEEPEST = 20  # imports and parents that are followed: some modules import from one another


class Module(Protocol):
    """One of the user's modules: its name, its syntax, and the modules and attributes behind imported names."""

    name: str
    tree: ast.Module

    @property
    def imports(self) -> dict[str, list[tuple[str, str | None]]]:
        """Behind every imported name."""
        ...


Find = Callable[[str], Module | None]  # a module of the user's own by its name
Place = tuple[Module, ast.ClassDef]


def chain(node: ast.expr) -> list[str]:
    """``a.b.c`` as its names; empty where it does not begin with a name."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.insert(0, node.attr)
        node = node.value
    return [node.id, *names] if isinstance(node, ast.Name) else []


def find_class(module: Module, names: list[str], find: Find, depth: int = 0) -> Place | None:
    """The class of the user's own behind a dotted name of a module, wherever it is defined."""
    if not names or depth > _DEEPEST:
        return None
    for node in module.tree.body:
        if isinstance(node, ast.ClassDef) and [node.name] == names:
            return module, node
    for base, attribute in module.imports.get(names[0], []):
        *path, last = [base, *([] if attribute is None else [attribute]), *names[1:]]
        other = find(".".join(path)) if path else None
        if other is not None and (found := find_class(other, [last], find, depth + 1)) is not None:
            return found
    return None


def parents(place: Place, find: Find, depth: int = 0) -> Iterator[Place]:
    """The user's own among the parents of a class, and theirs."""
    module, cls = place
    for base in cls.bases if depth <= _DEEPEST else []:
        if (found := find_class(module, chain(base), find)) is not None:
            yield found
            yield from parents(found, find, depth + 1)


def is_registered(place: Place, find: Find) -> bool:
    """Whether a parent or a metaclass of the user's own acts where a class is made."""
    family = list(parents(place, find))
    if any(getattr(member, "name", "") == "__init_subclass__" for _, cls in family for member in cls.body):
        return True
    made_by = [(module, one.value) for module, cls in (place, *family) for one in cls.keywords]
    return any(find_class(module, chain(one), find) is not None for module, one in made_by)
