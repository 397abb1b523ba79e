"""Classes of values by name: dataclasses, enums and named tuples of DAG files and of the modules beside them."""

from __future__ import annotations

import dataclasses
import sys
from typing import Any

from dagd.model.errors import XComRefused

# Folders whose modules may be imported for a class that a stored value names.
LOCAL_FOLDERS: list[str] = []


def class_name(cls: type) -> str | None:
    """`module:Class` for a class that can be found again at the top level of its module, else None."""
    if "<locals>" in cls.__qualname__:
        return None
    return f"{cls.__module__}:{cls.__qualname__}"


def find_class(name: str) -> Any:
    """The class of that name in this process. Raises XComRefused.

    Only modules that are imported already, or that the DAG folder holds, are looked into: a stored text is never a
    reason to import something else.
    """
    module_name, _, qualname = name.partition(":")
    found: Any = sys.modules.get(module_name) or _import_local(module_name)
    for part in qualname.split("."):
        found = getattr(found, part, None)
    if not isinstance(found, type):
        remedy = "Define it in the DAG file of the task that reads it, or in a module beside it."
        raise XComRefused(f"the class {qualname} of the module {module_name} is not here", remedy=remedy)
    return found


def _import_local(module_name: str) -> Any:
    from importlib import import_module
    from importlib.util import find_spec

    folders = tuple(LOCAL_FOLDERS)
    try:
        spec = find_spec(module_name)
    except (ImportError, ValueError):
        return None
    if spec is None or not spec.origin or not folders or not spec.origin.startswith(folders):
        return None
    return import_module(module_name)


def restore_dataclass(cls: Any, values: dict[str, Any]) -> Any:
    """An instance with exactly these field values; `__init__` does not run again. Raises XComRefused when the class
    has other fields by now."""
    fields = {field.name: field for field in dataclasses.fields(cls)} if dataclasses.is_dataclass(cls) else {}
    unknown = values.keys() - fields.keys()
    if unknown:
        raise XComRefused(f"{cls.__qualname__} has no field {sorted(unknown)[0]!r} any more")
    made = cls.__new__(cls)
    for name, field in fields.items():
        if name in values:
            value = values[name]
        elif field.default is not dataclasses.MISSING:
            value = field.default
        elif field.default_factory is not dataclasses.MISSING:
            value = field.default_factory()
        else:
            raise XComRefused(f"the stored {cls.__qualname__} lacks the field {name!r}")
        object.__setattr__(made, name, value)
    return made
