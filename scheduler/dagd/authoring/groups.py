"""Task groups: a prefix, a place to hang dependencies on, and something that can be mapped as a whole."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from dagd.authoring.ambient import AMBIENT, caller_ref
from dagd.authoring.arguments import unknown_argument
from dagd.authoring.edges import Dependable, Endpoint, connect
from dagd.authoring.mapped import ExpandInput, check_kwargs, check_product
from dagd.authoring.partials import Begun
from dagd.authoring.words import check_id
from dagd.authoring.xcomarg import MappedArgument, PlainXComArg, find_references
from dagd.model.errors import WrongArgument

if TYPE_CHECKING:
    from dagd.authoring.dag import DAG
    from dagd.authoring.node import TaskNode

GROUP_ARGUMENTS = (
    "group_id", "prefix_group_id", "parent_group", "dag", "default_args", "tooltip", "ui_color", "ui_fgcolor",
    "add_suffix_on_collision", "group_display_name",
)  # fmt: skip


class TaskGroup(Dependable):
    """A group of tasks. Tasks made inside `with TaskGroup(...)` get its id as a prefix."""

    is_group: ClassVar[bool] = True

    def __init__(
        self,
        group_id: str,
        prefix_group_id: bool = True,
        parent_group: TaskGroup | None = None,
        dag: DAG | None = None,
        default_args: Mapping[str, Any] | None = None,
        tooltip: str | None = None,
        add_suffix_on_collision: bool = False,
        **more: Any,
    ) -> None:
        self.where = caller_ref()
        for name in more:
            if name not in GROUP_ARGUMENTS:
                raise unknown_argument("TaskGroup", name, GROUP_ARGUMENTS, self.where)
        self.task_group = parent_group or (AMBIENT.groups[-1] if AMBIENT.groups else None)
        self.dag: DAG = self._find_dag(dag)
        if self.task_group is not None and self.task_group.dag is not self.dag:
            self.task_group = None
        self.prefixes, self.tooltip = prefix_group_id, tooltip
        self.default_args = dict(default_args or {})
        self.expand_input: ExpandInput | None = None
        self.label = check_id("group_id", group_id, self.where)
        self.group_id = self._full_id(self.label, add_suffix_on_collision)
        self.dag.add_group(self)

    def _find_dag(self, dag: DAG | None) -> DAG:
        found = (
            dag or (self.task_group.dag if self.task_group else None) or (AMBIENT.dags[-1] if AMBIENT.dags else None)
        )
        if found is None:
            raise WrongArgument("a TaskGroup outside a DAG", where=self.where, remedy="Make it in `with DAG(...)`.")
        return found

    def _full_id(self, label: str, with_suffix: bool) -> str:
        full = self.task_group.child_id(label) if self.task_group else label
        return free_id(self.dag, full) if with_suffix else full

    def child_id(self, label: str) -> str:
        """The full id of a task or group `label` inside this one."""
        return (
            f"{self.group_id}.{label}"
            if self.prefixes
            else (self.task_group.child_id(label) if self.task_group else label)
        )

    @property
    def node_id(self) -> str:
        """The full group_id."""
        return self.group_id

    @property
    def is_mapped(self) -> bool:
        """Whether this group itself has one copy per item."""
        return self.expand_input is not None

    def __repr__(self) -> str:
        return f"<TaskGroup: {self.group_id}>"

    def __enter__(self) -> TaskGroup:
        AMBIENT.groups.append(self)
        return self

    def __exit__(self, *error: object) -> None:
        AMBIENT.groups.pop()

    def endpoints(self) -> Sequence[Endpoint]:
        """Itself."""
        return [self]

    def tasks(self) -> Iterator[TaskNode]:
        """Its tasks, those of inner groups too."""
        for task in self.dag.tasks_by_id.values():
            if any(group is self for group in task.groups_outward()):
                yield task

    def roots(self) -> Sequence[TaskNode]:
        """Its tasks with nothing above them inside."""
        inside = list(self.tasks())
        names = {task.task_id for task in inside}
        return [task for task in inside if not task.upstream_task_ids & names]

    def leaves(self) -> Sequence[TaskNode]:
        """Its tasks with nothing below them inside; for a teardown, the work above it."""
        inside = {task.task_id: task for task in self.tasks()}
        found: dict[str, TaskNode] = {}
        pending = [task for task in inside.values() if not task.downstream_task_ids & inside.keys()]
        while pending:
            task = pending.pop(0)
            if not task.is_teardown:
                found[task.task_id] = task
                continue
            above = [inside[name] for name in sorted(task.upstream_task_ids & inside.keys())]
            pending.extend(one for one in above if not one.is_setup and self._only_teardowns_below(one, inside))
        return list(found.values())

    def _only_teardowns_below(self, task: TaskNode, inside: Mapping[str, TaskNode]) -> bool:
        return all(inside[name].is_teardown for name in task.downstream_task_ids & inside.keys())


def free_id(dag: DAG, wanted: str) -> str:
    """`wanted`, or with `__1`, `__2`... behind it when it is taken."""
    number, candidate = 0, wanted
    while dag.is_taken(candidate):
        number += 1
        candidate = f"{wanted}__{number}"
    return candidate


class MappedTaskGroup(TaskGroup):
    """A group with one copy per item."""

    def __init__(self, expand_input: ExpandInput, **arguments: Any) -> None:
        super().__init__(**arguments)
        group = self.task_group
        while group is not None:
            if group.expand_input is not None:
                what = f"the mapped group {self.group_id!r} inside the mapped group {group.group_id!r}"
                raise WrongArgument(what, where=self.where, remedy="Map one of them only.")
            group = group.task_group
        self.expand_input = expand_input
        for task, _ in find_references(list(expand_input.values.values())):
            connect(task, self)


class GroupFactory:
    """A function that fills a group. Calling it makes the group; `.expand()` makes a mapped one."""

    def __init__(
        self, function: Callable[..., Any], arguments: Mapping[str, Any], shared: Mapping[str, Any] | None = None,
        begun: Begun | None = None,
    ) -> None:  # fmt: skip
        self.function, self.arguments, self.shared = function, dict(arguments), dict(shared or {})
        self.arguments.setdefault("group_id", function.__name__)
        self.arguments.setdefault("add_suffix_on_collision", True)
        self.arguments.setdefault("tooltip", inspect.getdoc(function))
        self._begun = begun
        functools.update_wrapper(self, function)

    def __call__(self, *args: Any, **given: Any) -> Any:
        group = TaskGroup(**self.arguments)
        return self._fill(group, args, {**self.shared, **given})

    def override(self, **arguments: Any) -> GroupFactory:
        """The same function with other group arguments."""
        return GroupFactory(self.function, {**self.arguments, **arguments}, self.shared, self._begun)

    def partial(self, **shared: Any) -> GroupFactory:
        """Arguments that all copies share."""
        self._check_names(shared)
        begun = self._begun or Begun(self.function.__name__, caller_ref())
        return GroupFactory(self.function, self.arguments, {**self.shared, **shared}, begun)

    def expand(self, **values: Any) -> Any:
        """One copy per combination, the last argument fastest."""
        self._check_names(values)
        group = MappedTaskGroup(check_product(self.arguments["group_id"], values, caller_ref()), **self.arguments)
        return self._fill(group, (), {**self.shared, **{name: MappedArgument(group, name) for name in values}})

    def expand_kwargs(self, value: Any) -> Any:
        """One copy per dict of arguments."""
        group = MappedTaskGroup(check_kwargs(self.arguments["group_id"], value, caller_ref()), **self.arguments)
        names = [name for name in inspect.signature(self.function).parameters if name not in self.shared]
        return self._fill(group, (), {**self.shared, **{name: MappedArgument(group, name) for name in names}})

    def _check_names(self, given: Mapping[str, Any]) -> None:
        parameters = inspect.signature(self.function).parameters
        if any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values()):
            return
        for name in given:
            if name not in parameters:
                raise unknown_argument(self.function.__name__, name, parameters, caller_ref())

    def _fill(self, group: TaskGroup, args: tuple[Any, ...], given: Mapping[str, Any]) -> Any:
        if self._begun is not None:
            self._begun.end()
        with group:
            returned = self.function(*args, **given)
        if isinstance(returned, PlainXComArg):
            return GroupXComArg(group, returned)
        return group if returned is None else returned


class GroupXComArg(PlainXComArg):
    """What a group's function returned: as an argument a task's value, in a dependency the whole group."""

    def __init__(self, group: TaskGroup, returned: PlainXComArg) -> None:
        super().__init__(returned.operator, returned.key)
        self.group = group

    def endpoints(self) -> Sequence[Endpoint]:
        """The group."""
        return [self.group]


def task_group(function: Callable[..., Any] | str | None = None, **arguments: Any) -> Any:
    """Decorator: a function that makes tasks becomes a group."""
    where = caller_ref()
    for name in arguments:
        if name not in GROUP_ARGUMENTS:
            raise unknown_argument("task_group", name, GROUP_ARGUMENTS, where)
    if isinstance(function, str):
        arguments["group_id"] = function
    elif function is not None:
        return GroupFactory(function, arguments)
    return lambda inner: GroupFactory(inner, arguments)
