"""The DAG: what a `with DAG(...)` block collects."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagd
from dagd.authoring.ambient import AMBIENT, caller_ref, importing_file
from dagd.authoring.arguments import (
    DAG_ARGUMENTS,
    IGNORED_TASK_ARGUMENTS,
    TASK_ARGUMENTS,
    take_arguments,
    unknown_argument,
)
from dagd.authoring.edges import Endpoint, resolve_group_edges
from dagd.authoring.params import NOT_GIVEN, ParamsDict
from dagd.authoring.partials import Begun
from dagd.authoring.words import check_id
from dagd.authoring.xcomarg import ParamArg
from dagd.model.errors import DuplicateTask, SourceRef, WrongArgument, did_you_mean

if TYPE_CHECKING:
    from dagd.authoring.groups import TaskGroup
    from dagd.authoring.node import TaskNode


class DAG:
    """Tasks with dependencies, and when they run. Its arguments are attributes of their own names."""

    description: str | None
    schedule: Any
    start_date: datetime | None
    end_date: datetime | None
    timezone: Any
    dst: str
    catchup: bool
    max_active_runs: int
    max_active_tasks: int
    dagrun_timeout: timedelta | None
    default_args: dict[str, Any]
    tags: list[str]
    needs: dict[str, list[str]] | None
    owner: str
    template_searchpath: list[str] | None
    user_defined_macros: dict[str, Any] | None
    user_defined_filters: dict[str, Any] | None
    render_template_as_native_obj: bool
    auto_register: bool

    def __init__(
        self,
        dag_id: str,
        description: str | None = None,
        schedule: Any = None,
        *,
        where: SourceRef | None = None,
        **arguments: Any,
    ) -> None:
        self.where = where or caller_ref()
        self.file = importing_file()
        self.dag_id = check_id("dag_id", dag_id, self.where)
        self.tasks_by_id: dict[str, TaskNode] = {}
        self.groups_by_id: dict[str, TaskGroup] = {}
        self.group_edges: list[tuple[Endpoint, Endpoint]] = []
        self.edge_labels: dict[tuple[str, str], str] = {}
        self.used_defaults: set[str] = set()
        self.begun_partials: list[Begun] = []
        self.is_registered = False
        arguments.update(description=description, schedule=schedule)
        for name in arguments:
            if name not in DAG_ARGUMENTS:
                raise unknown_argument("DAG", name, [*DAG_ARGUMENTS, "dag_id"], self.where)
        defaults = arguments.get("default_args") or {}
        if isinstance(defaults, dict):
            for name in ("start_date", "end_date", "owner"):
                if name in defaults:
                    arguments.setdefault(name, defaults[name])
        take_arguments(self, DAG_ARGUMENTS, arguments, self.where)
        self.default_args = dict(defaults)
        self.params = ParamsDict(getattr(self, "params", None))
        AMBIENT.made.append(self)

    def __enter__(self) -> DAG:
        AMBIENT.dags.append(self)
        self.is_registered = self.auto_register
        return self

    def __exit__(self, *error: object) -> None:
        AMBIENT.dags.pop()

    def __repr__(self) -> str:
        return f"<DAG: {self.dag_id}>"

    @property
    def tasks(self) -> list[TaskNode]:
        """All tasks, in the order in which they were made."""
        return list(self.tasks_by_id.values())

    @property
    def task_ids(self) -> list[str]:
        """All task_ids, in the order in which they were made."""
        return list(self.tasks_by_id)

    @property
    def task_dict(self) -> dict[str, TaskNode]:
        """Tasks by id."""
        return dict(self.tasks_by_id)

    @property
    def task_group_dict(self) -> dict[str, TaskGroup]:
        """Groups by id."""
        return dict(self.groups_by_id)

    @property
    def fileloc(self) -> str:
        """The file that defines this DAG."""
        return self.file

    @property
    def folder(self) -> str:
        """The folder of that file."""
        return os.path.dirname(self.file)

    def param(self, name: str, default: Any = NOT_GIVEN) -> ParamArg:
        """A param of the run, as an argument for a task."""
        if default is not NOT_GIVEN:
            self.params.setdefault(name, default)
        return ParamArg(name)

    def has_task(self, task_id: str) -> bool:
        """Whether there is a task of that id."""
        return task_id in self.tasks_by_id

    def get_task(self, task_id: str) -> TaskNode:
        """The task of that id. Raises WrongArgument with the nearest one."""
        if task_id not in self.tasks_by_id:
            what = f"the DAG {self.dag_id!r} has no task {task_id!r}"
            raise WrongArgument(what, where=self.where, remedy=did_you_mean(task_id, self.tasks_by_id))
        return self.tasks_by_id[task_id]

    def add_task(self, task: TaskNode) -> None:
        """Take a task in. Raises DuplicateTask."""
        known = self.tasks_by_id.get(task.task_id)
        if known is task:
            return
        if known is not None or task.task_id in self.groups_by_id:
            first = known.where if known is not None else self.groups_by_id[task.task_id].where
            what = f"the DAG {self.dag_id!r} has two tasks {task.task_id!r} (the first at {first})"
            raise DuplicateTask(what, where=task.where)
        task.dag = self
        self.tasks_by_id[task.task_id] = task
        for scope in AMBIENT.scopes:
            scope.work.append(task)

    def add_group(self, group: TaskGroup) -> None:
        """Take a group in. Raises DuplicateTask."""
        if group.group_id in self.groups_by_id or group.group_id in self.tasks_by_id:
            what = f"the DAG {self.dag_id!r} has two groups or tasks {group.group_id!r}"
            raise DuplicateTask(what, where=group.where, remedy="Give one of them another id.")
        self.groups_by_id[group.group_id] = group

    def is_taken(self, node_id: str) -> bool:
        """Whether a task or group has that id."""
        return node_id in self.tasks_by_id or node_id in self.groups_by_id

    def resolve(self) -> DAG:
        """Turn edges with groups into edges between tasks. To be called when the DAG is complete."""
        resolve_group_edges(self)
        return self

    def roots(self) -> Sequence[TaskNode]:
        """Tasks with nothing above."""
        self.resolve()
        return [task for task in self.tasks_by_id.values() if not task.upstream_task_ids]

    def leaves(self) -> Sequence[TaskNode]:
        """Tasks with nothing below."""
        self.resolve()
        return [task for task in self.tasks_by_id.values() if not task.downstream_task_ids]

    def test(
        self, logical_date: datetime | None = None, run_conf: dict[str, Any] | None = None, *, clock: Any = None,
        mocks: Mapping[str, Any] | None = None, variables: Mapping[str, Any] | None = None,
        connections: Mapping[str, Any] | None = None, **options: Any,
    ) -> Any:  # fmt: skip
        """Run this DAG in this process, without database and daemon. Returns the finished run: `.state`, `.value(id)`.

        `clock`: an instant, or a `dagd.testing.FrozenClock`. `mocks` by task_id: a value, an exception, or a function
        that runs in the task's place. Further: task_selection, fork, debug, and Airflow's own (docs/testing.md).
        """
        given = {"clock": clock, "mocks": mocks, "variables": variables, "connections": connections, **options}
        return dagd.run_locally(self, logical_date=logical_date, run_conf=run_conf, **given)

    def unused_defaults(self) -> Iterator[str]:
        """Keys of default_args that no task took and that are no argument of any task."""
        for name in self.default_args:
            if name not in self.used_defaults and name not in TASK_ARGUMENTS and name not in IGNORED_TASK_ARGUMENTS:
                yield name
