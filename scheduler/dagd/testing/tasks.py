"""One task of a DAG, run in the test's own process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from dagd.authoring.dag import DAG
from dagd.authoring.node import TaskNode
from dagd.authoring.xcomarg import PlainXComArg
from dagd.engine.local_clock import Clock
from dagd.engine.local_mocks import check_xcoms
from dagd.engine.local_start import run_made_task
from dagd.model.errors import UsageError, did_you_mean
from dagd.testing.capture import captured


@dataclass(frozen=True)
class TaskResult:
    """How a task ended. Of a mapped task `value` is the list of its instances' values, `state` the first that is no
    success, if any."""

    task_id: str
    state: str
    value: Any = None
    error: str | None = None
    reason: str | None = None
    try_number: int = 0
    xcoms: dict[str, Any] = field(default_factory=dict)
    rendered: dict[str, str] = field(default_factory=dict)
    log: str = ""

    def __repr__(self) -> str:
        why = f": {self.error or self.reason}" if self.error or self.reason else f", value {self.value!r}"
        return f"<{self.task_id} {self.state} on try {self.try_number}{why}>"


def run_task(
    task: DAG | TaskNode | PlainXComArg | str, task_id: str | None = None, *, params: Mapping[str, Any] | None = None,
    conf: Mapping[str, Any] | None = None, xcoms: Mapping[Any, Any] | None = None,
    mocks: Mapping[str, Any] | None = None, logical_date: datetime | None = None,
    clock: Clock | datetime | None = None, fork: bool = False, find: Callable[[str], DAG] | None = None,
    **options: Any,
) -> TaskResult:  # fmt: skip
    """Run one task to its end, retries and waits included, and nothing else of its DAG.

    `task` is the task itself, or a DAG (`find` gives one by its id) with `task_id`. `xcoms` are what tasks above it
    returned, `{task_id: value}` or `{(task_id, key): value}`. `fork=True` runs it in a child, with its timeout.
    Raises NotFound, UsageError, InvalidParams.
    """
    dag, name = _which(task, task_id, find)
    given = {**(conf or {}), **_checked(dag, params or {})}
    mocked = {**check_xcoms(xcoms or {}), **(mocks or {})}
    with captured() as log:
        run = run_made_task(
            dag, name, run_conf=given, mocks=mocked, logical_date=logical_date, clock=clock, fork=fork, **options
        )
    rows = [row for row in run["tasks"] if row["task_id"] == name]
    row = next((row for row in rows if row["state"] != "success"), rows[0])
    return TaskResult(
        name, row["state"], run.value(name), row["error"], row["reason"], row["try"], run.xcoms(name),
        run.rendered(name), log.text,
    )  # fmt: skip


def _which(task: Any, task_id: str | None, find: Callable[[str], DAG] | None) -> tuple[DAG, str]:
    if isinstance(task, PlainXComArg):
        task = task.operator
    if isinstance(task, TaskNode):
        if task.dag is None:
            raise UsageError(f"the task {task.task_id!r} belongs to no DAG")
        return task.dag, task.task_id
    if isinstance(task, str) and find is not None:
        task = find(task)
    if not isinstance(task, DAG):
        raise UsageError(f"run_task({task!r}): neither a task nor a DAG", remedy="Give run_task(dag, task_id).")
    if task_id is None:
        raise UsageError(f"run_task({task!r}): which task?", remedy="Give run_task(dag, task_id).")
    return task, task_id


def _checked(dag: DAG, params: Mapping[str, Any]) -> Mapping[str, Any]:
    """Params that the DAG has: a misspelt one would be a key of the conf, and change nothing."""
    for name in params:
        if name not in dag.params:
            what = f"the DAG {dag.dag_id!r} has no param {name!r}"
            raise UsageError(what, remedy=did_you_mean(name, dag.params) or "Give other keys of the conf with conf=.")
    return params
