"""How experiments inherit: by bare assignment, without repeating a field's type."""

from __future__ import annotations

import inspect
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError

from heldout.config.texts import as_declared, first_error, nearest
from heldout.errors import UserError

_NOT_DATA = (classmethod, staticmethod, property)


class ExperimentMeta(type(BaseModel)):
    """Lets a subclass override a field without repeating its type, and refuses names that are no field."""

    def __new__(mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **kwargs: Any) -> type:
        """Give bare assignments their inherited types, then let pydantic build the class."""
        inherited: dict[str, Any] = {}
        for base in reversed(bases):
            inherited.update(getattr(base, "__pydantic_fields__", {}))
        own = namespace.setdefault("__annotations__", {})
        for key, value in namespace.items():
            if key in own or key.startswith("_") or key == "model_config":
                continue
            if inspect.isfunction(value) or isinstance(value, _NOT_DATA) or hasattr(value, "decorator_info"):
                if key in inherited:
                    raise UserError(f"{namespace['__module__']}: {key} is a field and cannot become a method")
                continue
            if key not in inherited:
                raise UserError(f"{namespace['__module__']}: unknown field {key!r}{nearest(key, inherited)}")
            field = inherited[key]
            namespace[key] = as_declared(value, field.annotation)
            own[key] = Annotated[field.annotation, *field.metadata, Field(description=field.description)]
        try:
            return super().__new__(mcs, name, bases, namespace, **kwargs)
        except ValidationError as error:
            raise UserError(f"{namespace['__module__']}: {first_error(error)}") from None
