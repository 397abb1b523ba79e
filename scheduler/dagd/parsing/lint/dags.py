"""Rules over one DAG: its dates, its tasks, its pools."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

from dagd.authoring.compile_tasks import operator_class
from dagd.authoring.dag import DAG
from dagd.authoring.mapped import MappedOperator
from dagd.authoring.node import TaskNode
from dagd.model.errors import PoolTooSmall, nearest
from dagd.model.specs import DagSpec
from dagd.parsing.lint.reach import unreachable
from dagd.parsing.lint.text import choices_of, functions_by_line
from dagd.parsing.lint.times import lint_times
from dagd.parsing.results import Finding, Pools

DEFAULT_POOL = "default_pool"
# What answers badly when it is asked again at once.
REMOTE = ("dagd_operators.http", "dagd_operators.sql", "dagd_operators.email")


def lint_dag(
    dag: DAG, spec: DagSpec, tree: ast.Module, *, now: int, pools: Pools | None
) -> Iterator[Finding]:  # fmt: skip
    """What is doubtful about one DAG."""
    file, line = dag.where.file, dag.where.line
    for name in ("start_date", "end_date"):
        instant = getattr(dag, name)
        if instant is not None and instant.tzinfo is None:
            what = f"{name}={instant} has no time zone; it is read in the DAG's, {spec.timezone}"
            yield Finding("DAGD-L005", what, file, line, "Write it: tzinfo=..., or pendulum.datetime(..., tz=...).")
    if not dag.tasks:
        yield Finding("DAGD-L006", f"the DAG {dag.dag_id!r} has no tasks", file, line)
    yield from lint_times(spec, file, now)
    for task in dag.tasks:
        yield from _lint_task(task, pools)
    yield from _lint_rules(dag, spec, tree)


def _lint_task(task: TaskNode, pools: Pools | None) -> Iterator[Finding]:
    file, line = task.where.file, task.where.line
    for field in _shell_fields(task):
        if "|" in field and "raw" in field.replace(" ", "").split("|", 1)[1][:40]:
            what = f"`| raw` in the command of {task.task_id!r}: the value is not quoted for the shell"
            yield Finding("DAGD-L007", what, file, line, "Leave `| raw` out, unless the value is your own.")
    if task.retries and not task.retry_delay and operator_class(task).__module__ in REMOTE:
        what = f"{task.task_id!r} asks {task.retries} times more without a pause: retry_delay is 0"
        yield Finding("DAGD-L008", what, file, line, "Give retry_delay, with retry_exponential_backoff for a service.")
    if pools is not None and task.pool != DEFAULT_POOL and task.pool not in pools:
        close = nearest(task.pool, pools)
        told = f"the pool {task.pool!r} of {task.task_id!r} is not known; the task would wait for it"
        remedy = f"Did you mean {close!r}?" if close else f"Make it: dagd pools set {task.pool} SLOTS"
        yield Finding("DAGD-L009", told, file, line, remedy)
    slots = pools.get(task.pool) if pools is not None else None
    if slots and task.pool_slots > slots:  # a pool with 0 slots is closed: what waits there waits on purpose
        told = f"{task.task_id!r} asks for {task.pool_slots} slots of pool {task.pool!r}, which has {slots}"
        yield Finding("DAGD-L016", told, file, line, PoolTooSmall.remedy_default)


def _shell_fields(task: Any) -> Iterator[str]:
    cls = operator_class(task)
    for name in getattr(cls, "shell_fields", ()):
        value = task.shared.get(name) if isinstance(task, MappedOperator) else getattr(task, name, None)
        if isinstance(value, str):
            yield value


def _lint_rules(dag: DAG, spec: DagSpec, tree: ast.Module) -> Iterator[Finding]:
    """Trigger rules that nothing can satisfy, and branches that name what is not there."""
    choices: dict[str, list[frozenset[str]]] = {}
    functions = functions_by_line(tree)
    for task in dag.tasks:
        code = getattr(getattr(task, "python_callable", None), "__code__", None)
        function = functions.get(code.co_firstlineno) if code is not None and code.co_filename == dag.file else None
        chosen = choices_of(function) if task.decides == "branch" and function is not None else None
        if chosen is None:
            continue
        unknown = sorted({name for one in chosen for name in one if not dag.is_taken(name)})
        for name in unknown:
            close = nearest(name, [*dag.tasks_by_id, *dag.groups_by_id])
            what = f"the branch {task.task_id!r} may choose {name!r}, which is no task or group of this DAG"
            remedy = f"Did you mean {close!r}?" if close else "Ids within groups have the group's name: group.task."
            yield Finding("DAGD-L011", what, task.where.file, task.where.line, remedy)
        if not unknown:
            choices[task.task_id] = chosen
    for task_id, what in unreachable(spec, choices):
        where = dag.tasks_by_id[task_id].where
        yield Finding("DAGD-L010", what, where.file, where.line, "Change its trigger_rule, or what is above it.")
