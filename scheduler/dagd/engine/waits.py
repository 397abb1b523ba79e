"""Triggers of deferred tries: handed to the agent after their commit, taken back when the wait is over."""

from __future__ import annotations

import json
from typing import Any

from dagd.decide.state import State
from dagd.executors.protocol import Executor
from dagd.model.plans import Plan
from dagd.model.states import AttemptState


def hand_over(executor: Executor, plan: Plan) -> None:
    """What a committed plan says of waits: the new ones, and those that are over."""
    new = [_wait(row.token, row.trigger) for row in plan.deferrals if _is_watched(row.trigger)]
    if new:
        executor.wait(new)
    if plan.firings or plan.ends:
        executor.end_waits([row.token for row in plan.firings] + [row.token for row in plan.ends])


def hand_over_all(executor: Executor, state: State) -> None:
    """Every wait in memory, after a rebuild or a new connection; the agent keeps no other."""
    current: dict[str, str | None] = {}
    for token, (run_id, i, pos) in state.tokens.items():
        task = state.runs[run_id].tasks[i]
        trigger = task.instances[pos].trigger
        if task.states[pos] == AttemptState.DEFERRED and _is_watched(trigger):
            current[token] = trigger
    executor.end_waits([token for token in executor.waits if token not in current])
    if current:
        executor.wait([_wait(token, trigger) for token, trigger in current.items()])


def _is_watched(trigger: str | None) -> bool:
    """Whether somebody has to look: an instant is a timer of the scheduler."""
    return trigger is not None and json.loads(trigger)["kind"] != "time"


def _wait(token: str, trigger: str | None) -> dict[str, Any]:
    return {"token": token, "trigger": json.loads(trigger or "{}")}
