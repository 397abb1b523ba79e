"""Stopping a run before its end: cancel, dagrun_timeout, fail_fast, a mark on the run. Due teardowns still run."""

from __future__ import annotations

from dagd.decide import flow
from dagd.decide.settling import ADMITTED, call_back, end_instance, settle_waiting
from dagd.decide.state import RESUMING, RunView, TaskState
from dagd.decide.turn import Turn
from dagd.model.plans import End, StopRequest
from dagd.model.states import ATTEMPT_MOVES, AttemptState, Reason, RunState

WITHOUT_PROCESS = frozenset({AttemptState.DEFERRED, RESUMING})


def is_due_teardown(run: RunView, task: TaskState) -> bool:
    """A teardown whose setup succeeded, or that guards nothing: it runs whatever became of the work."""
    if task.setup is None or task.remaining == 0:
        return False
    if not run.graph.setups[task.i]:
        return True
    inner = task.inner_setup or []
    return bool(task.setup.s or any(counts.s for counts in inner))


def stop_run(turn: Turn, run: RunView, verdict: RunState, reason: str, waiting_event: str) -> None:
    """Fix the run's end and stop what is not over: live tries are asked to stop, the rest ends with `waiting_event`."""
    run.verdict, run.reason = verdict, reason
    turn.plan.verdicts.append((run.id, int(verdict), reason))
    turn.touched_runs[run.id] = run
    for task in run.tasks:
        if task.remaining == 0 or is_due_teardown(run, task):
            continue
        stop_tries(turn, run, task, reason)
        settle_waiting(turn, run, task, waiting_event, reason)
    flow.spread(turn)


def fail_fast(turn: Turn) -> None:
    """Stop the runs that a failure of this turn ends, before it spreads: what has not started is skipped."""
    failed, turn.failures = turn.failures, {}
    for run in failed.values():
        if run.graph.spec.fail_fast and run.verdict is None:
            stop_run(turn, run, RunState.FAILED, Reason.FAIL_FAST, "skip")


def stop_tries(turn: Turn, run: RunView, task: TaskState, reason: str) -> None:
    """Ask each live try of a task to stop; a deferred one has no process and ends at once."""
    for pos, instance in list(task.instances.items()):
        if instance.token is None or instance.stop_reason is not None or task.states[pos] not in ADMITTED:
            continue
        if task.states[pos] in WITHOUT_PROCESS:
            end_deferred(turn, run, task, pos, reason)
            continue
        instance.stop_reason = reason
        turn.plan.stops.append(
            StopRequest(turn.key(run, task, pos), instance.try_no, instance.token, reason, task.spec.cancel_grace_us)
        )


def end_deferred(turn: Turn, run: RunView, task: TaskState, pos: int, reason: str) -> None:
    """A deferred try is stopped: it holds no process and no place, so its row ends in this turn."""
    instance = task.instance(pos)
    event = "fail" if reason == Reason.DAGRUN_TIMEOUT else "cancel"
    token = instance.token or ""
    if event == "fail":
        call_back(turn, run, task, pos, "failure", {"type": "TaskFailed", "message": reason})
    turn.state.tokens.pop(token, None)
    turn.plan.ends.append(
        End(
            turn.key(run, task, pos), instance.try_no, token, event, turn.now,
            started_at=instance.first_started_at, reason=reason,
        )
    )  # fmt: skip
    end_instance(turn, run, task, pos, int(ATTEMPT_MOVES[event].target))
