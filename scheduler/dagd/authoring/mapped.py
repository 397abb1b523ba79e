"""Mapped tasks: `Op.partial(...).expand(...)` makes one instance per item, when the items are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dagd.authoring.ambient import AMBIENT, caller_ref
from dagd.authoring.arguments import IGNORED_TASK_ARGUMENTS, TASK_ARGUMENTS, unknown_argument
from dagd.authoring.node import TaskNode
from dagd.authoring.partials import Begun
from dagd.authoring.xcomarg import XComArg, source_of
from dagd.model.errors import SourceRef, WrongArgument
from dagd.model.specs import ExpandSpec

if TYPE_CHECKING:
    from dagd.authoring.operator import BaseOperator, OperatorMeta


class ExpandInput:
    """What a task or group is mapped over: `product` of named values, or `kwargs`, one value of dicts."""

    def __init__(self, kind: str, values: Mapping[str, Any], *, is_strict: bool = True) -> None:
        self.kind, self.values, self.is_strict = kind, dict(values), is_strict

    def to_spec(self) -> ExpandSpec:
        """The compiled form."""
        names = tuple(self.values) if self.kind == "product" else ()
        return ExpandSpec(self.kind, names, tuple(source_of(value) for value in self.values.values()))


def check_product(owner: str, values: Mapping[str, Any], where: SourceRef) -> ExpandInput:
    """`expand(**values)` as an input. Raises WrongArgument for what cannot be mapped over."""
    if not values:
        raise WrongArgument(f"{owner}.expand() needs at least one argument", where=where)
    for name, value in values.items():
        if isinstance(value, (set, frozenset)):
            values = {**values, name: sorted(value, key=repr)}
        elif not isinstance(value, (XComArg, list, tuple, dict)):
            what = f"{owner}.expand({name}={value!r}): a list, dict or a task's value is needed"
            raise WrongArgument(what, where=where, remedy=f"Give {name} to .partial() if it is the same for all.")
    return ExpandInput("product", values)


def check_kwargs(owner: str, value: Any, where: SourceRef, *, is_strict: bool = True) -> ExpandInput:
    """`expand_kwargs(value)` as an input; strict items give nothing that partial() gave. Raises WrongArgument."""
    is_literal = isinstance(value, (list, tuple)) and all(isinstance(one, (dict, XComArg)) for one in value)
    if not isinstance(value, XComArg) and not is_literal:
        raise WrongArgument(
            f"{owner}.expand_kwargs({value!r}): a list of dicts or a task's value is needed", where=where
        )
    return ExpandInput("kwargs", {"": value}, is_strict=is_strict)


class OperatorPartial:
    """The shared arguments of a task that waits for `.expand()` or `.expand_kwargs()`."""

    def __init__(self, cls: OperatorMeta, shared: dict[str, Any], where: SourceRef, into: str | None = None) -> None:
        self.cls, self.shared, self.where, self.into = cls, shared, where, into
        self._begun = Begun(cls.__name__, where)

    def expand(self, **values: Any) -> Any:
        """One instance per combination, the last argument fastest."""
        return self._expand(check_product(self.cls.__name__, values, caller_ref()))

    def expand_kwargs(self, value: Any, *, strict: bool = True) -> Any:
        """One instance per dict of arguments."""
        return self._expand(check_kwargs(self.cls.__name__, value, caller_ref(), is_strict=strict))

    def _expand(self, mapped: ExpandInput) -> MappedOperator:
        where = caller_ref()
        self._begun.end()
        if mapped.kind == "product":
            self._check(mapped.values, where)
        return MappedOperator(self.cls, self.shared, mapped, where, self.into)

    def _check(self, values: Mapping[str, Any], where: SourceRef) -> None:
        for name in values:
            if name in TASK_ARGUMENTS or name in {"task_id", "dag", "task_group"}:
                what = f"{self.cls.__name__}.expand({name}=): the tries of one task share this"
                raise WrongArgument(what, where=where, remedy=f"Give {name} to .partial().")
            if name in self.shared:
                what = f"{self.cls.__name__}: {name!r} is given to both .partial() and .expand()"
                raise WrongArgument(what, where=where)


class MappedOperator(TaskNode):
    """A task whose instances are made from `operator_class` when their items are known.

    `into` names the dict argument that items go into (op_kwargs of a function), or is None when items are arguments.
    """

    def __init__(
        self, cls: OperatorMeta, shared: dict[str, Any], mapped: ExpandInput, where: SourceRef, into: str | None
    ) -> None:
        defaults = cls.fill(shared)
        self.operator_class, self.expand_input, self.into = cls, mapped, into
        self.fixed = frozenset(shared.get("op_kwargs") or () if into else shared)
        self.shared = {name: value for name, value in defaults.items() if name not in IGNORED_TASK_ARGUMENTS}
        items = {} if into else mapped.values
        if mapped.kind == "product":
            cls.check_arguments({**self.shared, **items}, where)
        self._refuse_nested(where)
        places = {name: self.shared.pop(name, None) for name in ("dag", "task_group")}
        self._place(self.shared.get("task_id"), places["dag"], places["task_group"], where)
        common = {name: value for name, value in self.shared.items() if name in TASK_ARGUMENTS}
        self._take(common, where)
        self.decides = cls.decides
        self.depend_on(list(mapped.values.values()))
        for name in cls.template_fields:
            self.depend_on(self.shared.get(name))

    def _refuse_nested(self, where: SourceRef) -> None:
        group = self.shared.get("task_group") or (AMBIENT.groups[-1] if AMBIENT.groups else None)
        while group is not None:
            if group.expand_input is not None:
                what = f"a mapped task inside the mapped group {group.group_id!r}"
                raise WrongArgument(what, where=where, remedy="Map the group or the task, not both.")
            group = group.task_group

    @property
    def operator_name(self) -> str:
        """The name of the operator's class."""
        return self.operator_class.__name__

    @property
    def template_fields(self) -> Sequence[str]:
        """Those of the operator's class."""
        return self.operator_class.template_fields

    def unmap(self, items: Mapping[str, Any]) -> BaseOperator:
        """The operator of one instance, with its items as arguments."""
        given = dict(self.shared)
        for name in self.fixed.intersection(items) if self.expand_input.is_strict else ():
            what = f"{self.task_id}: {name!r} is given to both .partial() and .expand_kwargs()"
            raise WrongArgument(what, where=self.where, remedy="Leave one out, or say strict=False.")
        if self.into:
            given[self.into] = {**(given.get(self.into) or {}), **items}
        else:
            for name in items:
                if name not in self.operator_class.known():
                    raise unknown_argument(self.operator_name, name, self.operator_class.known(), self.where)
            given.update(items)
        given["task_id"] = self.label
        task: BaseOperator = self.operator_class.build(given, self.where)
        for name in (
            "task_id",
            "dag",
            "task_group",
            "upstream_task_ids",
            "downstream_task_ids",
            "is_setup",
            "infers_outputs",
        ):
            setattr(task, name, getattr(self, name))
        return task
