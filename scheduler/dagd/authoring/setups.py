"""`with setup:` and `with teardown:` blocks: the work inside runs between them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dagd.authoring.ambient import AMBIENT
from dagd.authoring.edges import link

if TYPE_CHECKING:
    from dagd.authoring.node import TaskNode


class Scope:
    """One open block: its setups and teardowns, and the tasks made inside."""

    def __init__(self, setups: list[TaskNode], teardowns: list[TaskNode]) -> None:
        self.setups, self.teardowns = setups, teardowns
        self.work: list[TaskNode] = []


def open_scope(task: TaskNode) -> None:
    """Begin the block of a setup (its teardowns are those below it) or of a teardown (its setups those above it)."""
    if task.is_setup:
        teardowns = [other for other in task.downstream_list if other.is_teardown]
        AMBIENT.scopes.append(Scope([task], teardowns))
    else:
        setups = [other for other in task.upstream_list if other.is_setup]
        AMBIENT.scopes.append(Scope(setups, [task]))


def note_work(task: TaskNode) -> None:
    """A task was made: it is work of every open block."""
    for scope in AMBIENT.scopes:
        scope.work.append(task)


def leave_scope() -> None:
    """End the innermost block: setups above its first tasks, teardowns below its last ones."""
    scope = AMBIENT.scopes.pop()
    ends = {*scope.setups, *scope.teardowns}
    work = [task for task in scope.work if task not in ends]
    names = {task.task_id for task in work}
    for task in work:
        if not task.upstream_task_ids & names:
            for setup in scope.setups:
                link(setup, task)
        if not task.downstream_task_ids & names:
            for teardown in scope.teardowns:
                link(task, teardown)
