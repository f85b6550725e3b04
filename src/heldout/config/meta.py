"""How experiments inherit: by bare assignment, without repeating a field's type."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, Field, ValidationError

from heldout.config.legacy import FIELDS, HOOKS, today_field
from heldout.config.texts import as_declared, first_error, nearest
from heldout.errors import UserError

if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass
else:
    ModelMetaclass = type(BaseModel)  # where it is defined is private to pydantic

_NOT_DATA = (classmethod, staticmethod, property)


class ExperimentMeta(ModelMetaclass):
    """Lets a subclass override a field without repeating its type, and refuses names that are not a field."""

    def __new__(mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **kwargs: Any) -> type:
        """Give bare assignments their inherited types, then let pydantic build the class."""
        inherited: dict[str, Any] = {}
        for base in reversed(bases):
            inherited.update(getattr(base, "__pydantic_fields__", {}))
        own = namespace.setdefault("__annotations__", {})
        where = namespace["__module__"]
        for earlier in (FIELDS | HOOKS).keys() & namespace.keys():
            namespace[today_field(earlier, where)] = namespace.pop(earlier)
        if "budgets" in namespace and "budgets" in inherited:
            namespace["budgets"] = _merged(inherited["budgets"].default, namespace["budgets"], where)
        for key, value in namespace.items():
            if key in own or key.startswith("_") or key == "model_config":
                continue
            if inspect.isfunction(value) or isinstance(value, _NOT_DATA) or hasattr(value, "decorator_info"):
                if key in inherited:
                    raise UserError(f"{where}: {key} is a field and cannot become a method")
                continue
            if key not in inherited:
                raise UserError(f"{where}: unknown field {key!r}{nearest(key, inherited)}")
            field = inherited[key]
            namespace[key] = as_declared(value, field.annotation)
            own[key] = Annotated[field.annotation, *field.metadata, Field(description=field.description)]
        try:
            return super().__new__(mcs, name, bases, namespace, **kwargs)
        except ValidationError as error:
            raise UserError(f"{where}: {first_error(error)}") from None


def _merged(parent: dict[str, Any], child: Any, where: str) -> Any:
    """Budgets of a child over those of its parent, by name; None removes one.

    Example:
        >>> _merged({"quick": {"epochs": 2}, "long": {"epochs": 99}}, {"quick": {"lr": 0.1}, "long": None}, "exp900")
        {'quick': {'epochs': 2, 'lr': 0.1}}
    """
    if not isinstance(child, dict):
        return child  # refused with the field's type
    merged = dict(parent)
    for name, values in child.items():
        if isinstance(values, dict):
            own = {today_field(key, where): value for key, value in values.items()}
            merged[name] = {**parent.get(name, {}), **own}
        elif values is None:
            merged.pop(name, None)
        else:
            merged[name] = values
    return merged
