"""The arguments of one instance: references become values, mapped arguments the items of its index."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, Any

from dagd.authoring.groups import TaskGroup
from dagd.authoring.mapped import ExpandInput, MappedOperator
from dagd.authoring.params import NOT_GIVEN
from dagd.authoring.xcomarg import (
    ConcatXComArg,
    MappedArgument,
    MapXComArg,
    ParamArg,
    PlainXComArg,
    XComArg,
    ZipXComArg,
)
from dagd.model.errors import WrongArgument
from dagd.runtime.values import MISSING
from dagd.runtime.xcom import decode

if TYPE_CHECKING:
    from dagd.authoring.node import TaskNode
    from dagd.authoring.operator import BaseOperator
    from dagd.runtime.context import Context


def items_of(value: Any) -> Sequence[Any]:
    """What a value is mapped over: a list as it is, a dict as pairs. Raises WrongArgument."""
    if isinstance(value, Mapping):
        return list(value.items())
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes, bytearray)):
        return value
    raise WrongArgument(f"a task is mapped over {type(value).__name__}: it takes a list or dict")


class Resolver:
    """Turns references into values, for one try."""

    def __init__(self, context: Context) -> None:
        self._context, self._launch = context, context.launch
        self._group_items: dict[str, Any] | None = None

    def resolve(self, value: Any) -> Any:
        """A reference as its value; anything else as it is."""
        if isinstance(value, XComArg):
            return self.value_of(value)
        if isinstance(value, MappedArgument):
            return self._group_item(value)
        if isinstance(value, ParamArg):
            return self._context["params"][value.name]
        return value

    def deep(self, value: Any) -> Any:
        """Like `resolve`, in nested lists, tuples and dicts too; nothing is rendered."""
        if isinstance(value, list):
            return [self.deep(one) for one in value]
        if isinstance(value, tuple) and not hasattr(value, "_fields"):
            return tuple(self.deep(one) for one in value)
        if type(value) is dict:
            return {key: self.deep(one) for key, one in value.items()}
        return self.resolve(value)

    def value_of(self, arg: XComArg) -> Any:
        """The whole value of a reference; None when the task returned nothing."""
        if isinstance(arg, PlainXComArg):
            index = self._context.ti._shared_index(self._launch["dag_id"], arg.operator.task_id)
            found = self._context.values_of_run.pull(self._launch["dag_id"], None, arg.operator.task_id, arg.key, index)
            if found is MISSING and self._context.values_of_run.is_denied(arg.operator.task_id, arg.key):
                raise WrongArgument(
                    f"{arg.operator.task_id} left no value under the key {arg.key!r}",
                    remedy="Push it there, or return a dict with multiple_outputs=True.",
                )
            return None if found is MISSING else found
        if isinstance(arg, MapXComArg):
            return [arg.function(item) for item in items_of(self.value_of(arg.arg))]
        if isinstance(arg, ZipXComArg):
            return _zip([self._items(part) for part in arg.args], arg.fillvalue)
        if isinstance(arg, ConcatXComArg):
            return [item for part in arg.args for item in self._items(part)]
        raise WrongArgument(f"{arg!r} has no value")

    def _items(self, value: Any) -> Sequence[Any]:
        return items_of(self.value_of(value) if isinstance(value, XComArg) else value)

    # --- mapped arguments ----------------------------------------------------------------------------------------

    def mapped_items(self, mapped: ExpandInput) -> dict[str, Any]:
        """The arguments of this index, by name."""
        if mapped.kind == "kwargs":
            item = self._item("", mapped.values[""], self._launch["map_index"])
            if not isinstance(item, Mapping) or not all(isinstance(key, str) for key in item):
                raise WrongArgument(f"expand_kwargs over {type(item).__name__}: each item must be a dict of arguments")
            return dict(item)
        indices = self._indices(mapped)
        return {name: self._item(name, value, indices[name]) for name, value in mapped.values.items()}

    def _indices(self, mapped: ExpandInput) -> dict[str, int]:
        """Where this instance stands in each source: a product, the last argument fastest."""
        names = list(mapped.values)
        if len(names) == 1:
            return {names[0]: self._launch["map_index"]}
        sizes = list(self._launch.get("map_sizes") or ())
        if len(sizes) != len(names) or 0 in sizes:
            sizes = [len(self._items(bare)) for bare in _unmapped([mapped.values[name] for name in names])]
        rest = self._launch["map_index"]
        found: dict[str, int] = {}
        for position, name in enumerate(names):
            found[name], rest = divmod(rest, max(prod(sizes[position + 1 :]), 1))
        return found

    def _item(self, name: str, source: Any, index: int) -> Any:
        text = (self._launch.get("items") or {}).get(name)
        functions = []
        while isinstance(source, MapXComArg):
            functions.append(source.function)
            source = source.arg
        if isinstance(text, str) and isinstance(source, PlainXComArg):
            item = decode(text)
        else:
            item = self._index_into(source, index)
        for function in reversed(functions):
            item = function(item)
        return self.deep(item)

    def _index_into(self, source: Any, index: int) -> Any:
        """One item of a source, without making the others where that can be avoided."""
        if isinstance(source, MapXComArg):
            return source.function(self._index_into(source.arg, index))
        if isinstance(source, ZipXComArg):
            fill = None if source.fillvalue is NOT_GIVEN else source.fillvalue
            sizes = [len(self._items(part)) for part in _unmapped(source.args)]
            return tuple(
                self._index_into(part, index) if index < size else fill
                for part, size in zip(source.args, sizes, strict=True)
            )
        if isinstance(source, ConcatXComArg):
            for part, bare in zip(source.args, _unmapped(source.args), strict=True):
                size = len(self._items(bare))
                if index < size:
                    return self._index_into(part, index)
                index -= size
            raise IndexError(f"the item {index} of a concatenation is gone")
        items = self._items(source)
        if index >= len(items):
            raise IndexError(f"the value that this task is mapped over has {len(items)} items; {index} was asked for")
        return items[index]

    def _group_item(self, argument: MappedArgument) -> Any:
        mapped = argument.group.expand_input
        assert mapped is not None
        if self._group_items is None:
            self._group_items = self.mapped_items(mapped)
        if argument.name in self._group_items:
            return self._group_items[argument.name]
        raise WrongArgument(f"the items of the group {argument.group.group_id!r} have no {argument.name!r}")


def _unmapped(parts: Sequence[Any]) -> list[Any]:
    """The same parts without `.map`: as many items, and no function needs to be called."""
    bare = []
    for part in parts:
        while isinstance(part, MapXComArg):
            part = part.arg
        bare.append(part)
    return bare


def _zip(columns: Sequence[Sequence[Any]], fill: Any) -> list[tuple[Any, ...]]:
    sizes = [len(column) for column in columns]
    length = min(sizes) if fill is NOT_GIVEN else max(sizes)
    return [tuple(column[i] if i < len(column) else fill for column in columns) for i in range(length)]


def own_group(task: TaskNode) -> TaskGroup | None:
    """The mapped group that holds a task, or None."""
    return next((group for group in task.groups_outward() if group.is_mapped), None)


def _copy_of(task: Any) -> Any:
    """What `copy.copy` makes of a plain object, at a third of its price; an operator with its own way keeps it."""
    kind = type(task)
    if hasattr(kind, "__copy__") or hasattr(kind, "__slots__") or "__reduce_ex__" in kind.__dict__:
        return copy.copy(task)
    made = object.__new__(kind)
    made.__dict__.update(task.__dict__)
    return made


def instantiate(task: TaskNode, resolver: Resolver) -> tuple[BaseOperator, frozenset[str], frozenset[str]]:
    """The operator of this instance, as a copy that may be changed.

    Also the names of its attributes, and of its function's arguments, that came from mapping: these are values, and
    are never rendered.
    """
    if not isinstance(task, MappedOperator):
        return _copy_of(task), frozenset(), frozenset()
    items = resolver.mapped_items(task.expand_input)
    operator = task.unmap(items)
    if task.into:
        return operator, frozenset(), frozenset(items)
    return operator, frozenset(items), frozenset()
