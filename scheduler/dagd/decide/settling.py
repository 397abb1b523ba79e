"""Ending instances that have no live try, in memory and in the plan."""

from __future__ import annotations

from typing import Any

from dagd.decide.state import RESUMING, RunView, TaskState
from dagd.decide.turn import Turn
from dagd.model.plans import Settle
from dagd.model.states import ATTEMPT_MOVES, AttemptState

# A live row of `attempt` stands for these.
ADMITTED = frozenset({AttemptState.QUEUED, AttemptState.RUNNING, AttemptState.DEFERRED, RESUMING})


def call_back(turn: Turn, run: RunView, task: TaskState, pos: int, event: str, error: Any = None) -> None:
    """Tell the task's own callbacks of an event, through the outbox."""
    if event in task.spec.callbacks:
        name, begun = task.spec.task_id, task.instances.get(pos)
        told = {"task_id": name, "map_index": task.map_index(pos), "event": event, "error": error}
        told["try_no"] = begun.try_no if begun is not None else 0
        turn.tell("callback", f"{run.run_id}/{name}", run, **told)


def settle(turn: Turn, run: RunView, task: TaskState, pos: int, event: str, reason: str) -> None:
    """End an instance by one row of its own (try_no 0)."""
    turn.plan.settles.append(Settle(turn.key(run, task, pos), event, reason, turn.now))
    end_instance(turn, run, task, pos, int(ATTEMPT_MOVES[event].target))


def end_instance(turn: Turn, run: RunView, task: TaskState, pos: int, code: int) -> None:
    """Mark an instance ended in memory and let its end spread."""
    task.states[pos] = code
    task.remaining -= 1
    task.instances.pop(pos, None)
    turn.touched_runs[run.id] = run
    if code == AttemptState.FAILED and not (task.spec.is_teardown or task.spec.allow_failure):
        turn.failures[run.id] = run
    if task.remaining == 0:
        run.open_tasks -= 1
    turn.ended.append((run, task, pos, code, task.remaining == 0))


def settle_whole(turn: Turn, run: RunView, task: TaskState, event: str, reason: str) -> None:
    """A mapped task that never expands ends as one instance with map_index -1."""
    task.is_whole = True
    task.size = 1
    if event == "fail":
        call_back(turn, run, task, 0, "failure", {"type": "TaskFailed", "message": reason})
    settle(turn, run, task, 0, event, reason)


def settle_waiting(turn: Turn, run: RunView, task: TaskState, event: str, reason: str) -> None:
    """End every instance of a task that has no live try. One row speaks for all indices without a row of their own."""
    if task.size is None:
        settle_whole(turn, run, task, event, reason)
        return
    if not task.is_mapped or task.is_whole:
        if task.is_open(0) and task.states[0] not in ADMITTED:
            settle(turn, run, task, 0, event, reason)
        return
    fresh = [pos for pos in range(task.size) if task.is_open(pos) and task.states[pos] not in ADMITTED]
    if any(pos not in task.instances for pos in fresh):
        turn.plan.settles.append(Settle((run.id, task.no, -1), event, reason, turn.now))
    task.rest = (reason, frozenset(pos for pos in fresh if pos not in task.instances))
    for pos in fresh:
        if pos in task.instances:
            settle(turn, run, task, pos, event, reason)
        else:
            end_instance(turn, run, task, pos, int(ATTEMPT_MOVES[event].target))
