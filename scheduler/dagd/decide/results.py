"""What the end of a leg means: success with its values, failure with its budget, a skip, a deferral, a stop."""

from __future__ import annotations

import json
from typing import Any

from dagd.decide import admission, deadlines, flow, publish, stops
from dagd.decide.retries import next_try
from dagd.decide.settling import call_back, end_instance
from dagd.decide.state import RETRYING, Instance, RunView, TaskState
from dagd.decide.turn import Turn
from dagd.model.plans import Deferral, End, Firing, Start, XComRow
from dagd.model.states import AttemptState, Charge, Reason
from dagd.model.times import iso
from dagd.model.triggers import describe

Result = dict[str, Any]
RENDERED = "__rendered__"  # the key under which a try's template fields are kept for people
CHOSE = "__chose__:"  # a key for each id that a branch chose, and one without an id for the decision itself
PLAIN = frozenset({"", "[]", "()", "{}", "None"})
HOLDS_A_PLACE = frozenset({AttemptState.QUEUED, AttemptState.RUNNING})


def report_started(turn: Turn, token: str, pid: int | None, started_at: int, agent: str | None) -> None:
    """The agent says that a try's process runs."""
    where = turn.state.tokens.get(token)
    if where is None:
        return
    run, task, pos = _locate(turn, where)
    if task.states[pos] != AttemptState.QUEUED:
        return
    task.states[pos] = AttemptState.RUNNING
    _first_start(turn, run, task, pos, started_at)
    turn.happened_at = turn.now
    turn.plan.starts.append(Start(turn.key(run, task, pos), task.instance(pos).try_no, token, pid, agent, started_at))


def _first_start(turn: Turn, run: RunView, task: TaskState, pos: int, started_at: int) -> None:
    instance = task.instance(pos)
    if instance.first_started_at is None:
        instance.first_started_at = started_at
        turn.happened_at = min(turn.now, started_at)
        deadlines.on_task_started(turn, run, task.i)


def _locate(turn: Turn, where: tuple[int, int, int]) -> tuple[RunView, TaskState, int]:
    run = turn.state.runs[where[0]]
    return run, run.tasks[where[1]], where[2]


def report_result(turn: Turn, result: Result) -> None:
    """A leg ended. A superseded try moves its own row and nothing else; an unknown token may be another scheduler's:
    only the database can say whether its result may be forgotten."""
    token = result["token"]
    where = turn.state.tokens.pop(token, None)
    if where is None and token not in turn.state.superseded:
        turn.plan.strays.append(token)
        return
    turn.plan.acks.append(token)
    _set_back(result, turn.now)
    if where is None:
        _end_superseded(turn, token, result)
        return
    run, task, pos = _locate(turn, where)
    if task.states[pos] not in HOLDS_A_PLACE:
        turn.state.tokens[token] = where  # a leg that was deferred is told again: its frame is committed already
        return
    instance = task.instance(pos)
    if result.get("started_at") is not None:
        _first_start(turn, run, task, pos, result["started_at"])
        admission.note_pace(turn.state, task.spec, result["ended_at"] - result["started_at"])
    turn.happened_at = result["ended_at"]
    admission.release(turn, run, task)
    outcome = "cancel" if instance.stop_reason else result["outcome"]
    if outcome == "succeed":
        _succeed(turn, run, task, pos, result)
    elif outcome == "skip":
        _end_row(turn, run, task, pos, result, "skip", reason=(result.get("frame") or {}).get("message") or "skipped")
        call_back(turn, run, task, pos, "skipped")
        end_instance(turn, run, task, pos, AttemptState.SKIPPED)
    elif outcome == "defer":
        _defer(turn, run, task, pos, result)
    elif outcome == "cancel":
        _stopped(turn, run, task, pos, result)
    else:
        _fail(turn, run, task, pos, result)
    stops.fail_fast(turn)
    flow.spread(turn)
    turn.happened_at = turn.now


def _set_back(result: Result, now: int) -> None:
    """The agent's clock may be a little ahead: nothing that follows from this end is to seem earlier than it."""
    result["ended_at"] = min(result["ended_at"], now)
    if result.get("started_at") is not None:
        result["started_at"] = min(result["started_at"], result["ended_at"])


def _end_superseded(turn: Turn, token: str, result: Result) -> None:
    known = turn.state.superseded.pop(token, None)
    if known is None:
        return
    key, try_no, reason = known
    turn.plan.ends.append(
        End(key, try_no, token, "cancel", result["ended_at"], result.get("started_at"), result.get("pid"), reason)
    )
    run = turn.state.runs.get(key[0])
    i = run.graph.by_no.get(key[1]) if run is not None else None
    if run is None or i is None or not run.tasks:
        return
    task = run.tasks[i]
    admission.release(turn, run, task)
    turn.touched_runs[run.id] = run
    for pos, instance in list(task.instances.items()):
        if instance.blocked_by == token:
            flow.unblock(turn, run, task, pos)
    flow.spread(turn)


def _end_row(
    turn: Turn, run: RunView, task: TaskState, pos: int, result: Result, event: str, *, reason: str | None = None,
    error: str | None = None, charged: Charge = Charge.NOBODY, next_try_at: int | None = None,
) -> None:  # fmt: skip
    instance = task.instance(pos)
    frame = result.get("frame") or {}
    turn.plan.ends.append(
        End(
            turn.key(run, task, pos), instance.try_no, result["token"], event, result["ended_at"],
            instance.first_started_at, result.get("pid"), reason, error, result.get("exit_code"),
            result.get("signal"), charged, next_try_at, frame.get("label"), result.get("agent"),
        )
    )  # fmt: skip


def _succeed(turn: Turn, run: RunView, task: TaskState, pos: int, result: Result) -> None:
    frame = result.get("frame") or {}
    key = turn.key(run, task, pos)
    chosen, problem = decision_of(run, task, frame)
    if problem is not None:
        failed = {**result, "outcome": "fail", "frame": {"no_retry": True}, "error": {"message": problem}}
        _fail(turn, run, task, pos, failed)
        return
    for value in frame.get("xcom") or ():
        turn.plan.xcoms.append(
            XComRow(key, value["key"], value.get("text"), value.get("file"), value.get("length"), value.get("size", 0))
        )
        note_value(run, task, pos, value["key"], value.get("length"))
    if chosen is not None:
        task.decided[pos] = chosen
        turn.plan.xcoms += [XComRow(key, CHOSE + name, "null", None, None, 0) for name in dict.fromkeys(["", *chosen])]
    rendered = {name: text for name, text in (frame.get("rendered") or {}).items() if text not in PLAIN}
    if rendered:
        turn.plan.xcoms.append(XComRow(key, RENDERED, json.dumps(rendered), None, None, 0))
    _end_row(turn, run, task, pos, result, "succeed")
    publish.publish_outlets(turn, run, task, pos, result["token"], task.instance(pos).try_no, frame.get("assets") or [])
    call_back(turn, run, task, pos, "success")
    end_instance(turn, run, task, pos, AttemptState.SUCCESS)


def note_value(run: RunView, task: TaskState, pos: int, key: str, length: int | None) -> None:
    """A value was stored: what a map over it counts; what a branch or short-circuit decided."""
    if key.startswith(CHOSE):
        chosen = task.decided.setdefault(pos, [])
        chosen += [key.removeprefix(CHOSE)] if key != CHOSE else []
    elif task.is_mapped:
        run.lengths[(task.i, key)] = run.lengths.get((task.i, key), 0) + 1
    elif length is not None:
        run.lengths[(task.i, key)] = length


def decision_of(run: RunView, task: TaskState, frame: dict[str, Any]) -> tuple[list[str] | None, str | None]:
    """What a branch or short-circuit chose, or the sentence that refuses an unknown id."""
    kind = task.spec.decides
    if kind is None:
        return None, None
    if kind != "branch":
        return ([] if frame.get("short_circuit") else None), None
    chosen = list(frame.get("branch") or [])
    groups = {group.group_id for group in run.graph.spec.groups}
    for name in chosen:
        if name not in run.graph.index and name not in groups:
            return None, f"the branch chose {name!r}, which is no task or group of {run.graph.spec.dag_id}"
    return chosen, None


def _defer(turn: Turn, run: RunView, task: TaskState, pos: int, result: Result) -> None:
    frame, instance = result.get("frame") or {}, task.instance(pos)
    trigger, timeout = frame.get("trigger"), frame.get("timeout_us")
    resume_at = frame.get("until")
    if trigger is not None:
        resume_at = int(trigger["at"]) if trigger["kind"] == "time" else None
    elif resume_at is None:
        resume_at = turn.now + int(frame.get("poke_every_us") or 60_000_000)
    instance.leg_state = json.dumps(frame.get("state") or {})
    instance.resume_at = resume_at
    instance.trigger = None if trigger is None else json.dumps(trigger)
    instance.gives_up_at = None if timeout is None else turn.now + int(timeout)
    task.states[pos] = AttemptState.DEFERRED
    turn.state.tokens[result["token"]] = (run.id, task.i, pos)
    turn.plan.deferrals.append(
        Deferral(
            turn.key(run, task, pos), instance.try_no, result["token"], instance.first_started_at,
            result.get("pid"), resume_at, instance.leg_state, instance.trigger, instance.gives_up_at,
        )
    )  # fmt: skip
    if resume_at is not None:
        turn.state.set_timer(resume_at, "resume", run.id, task.i, pos, instance.token)
    if instance.gives_up_at is not None:
        turn.state.set_timer(instance.gives_up_at, "give_up", run.id, task.i, pos, instance.token)
    timeout = task.spec.execution_timeout_us
    if timeout is not None and instance.first_started_at is not None:
        turn.state.set_timer(instance.first_started_at + timeout, "timeout", run.id, task.i, pos, instance.token)


def resume_due(turn: Turn, run: RunView, task: TaskState, pos: int, token: str | None) -> None:
    """A deferred try may go on: it asks for a place again."""
    instance = task.instances.get(pos)
    if instance is not None and task.states[pos] == AttemptState.DEFERRED and instance.token == token:
        if instance.trigger is not None:
            _fire(turn, run, task, pos, {"at": iso(instance.resume_at)})
        admission.make_ready(turn, run, task, pos, pos + 1)


def trigger_fired(turn: Turn, fired: dict[str, Any]) -> None:
    """What a try waits for has happened, or cannot be looked at: it asks for a place again, or fails.

    The same firing may be told several times; one of a wait that is over means nothing.
    """
    where = turn.state.tokens.get(fired["token"])
    if where is None:
        return
    run, task, pos = _locate(turn, where)
    instance = task.instance(pos)
    if task.states[pos] != AttemptState.DEFERRED or instance.trigger is None:
        return
    if fired.get("error") is not None:
        _end_wait(turn, run, task, pos, Reason.EXCEPTION, fired["error"])
        return
    _fire(turn, run, task, pos, fired.get("event") or {})
    admission.make_ready(turn, run, task, pos, pos + 1)


def _fire(turn: Turn, run: RunView, task: TaskState, pos: int, event: dict[str, Any]) -> None:
    """The wait is over, durably: however long a place is waited for now, its event is kept and nothing times out."""
    instance = task.instance(pos)
    instance.leg_state = json.dumps({**json.loads(instance.leg_state or "{}"), "event": event})
    instance.resume_at, instance.trigger, instance.gives_up_at = turn.now, None, None
    turn.plan.firings.append(
        Firing(turn.key(run, task, pos), instance.try_no, instance.token or "", turn.now, instance.leg_state)
    )


def give_up_due(turn: Turn, run: RunView, task: TaskState, pos: int, token: str | None) -> None:
    """A trigger has not fired within the wait's own timeout; a sensor's is its `timeout`."""
    instance = task.instances.get(pos)
    if instance is None or task.states[pos] != AttemptState.DEFERRED or instance.token != token:
        return
    is_sensor = task.spec.sensor_timeout_us is not None
    reason = Reason.SENSOR_TIMEOUT if is_sensor else Reason.DEFER_TIMEOUT
    what = describe(json.loads(instance.trigger)) if instance.trigger else "its trigger"
    error = {"type": "SensorTimeout" if is_sensor else "DeferTimeout", "message": f"{reason}: waited for {what}"}
    _end_wait(turn, run, task, pos, reason, error)


def _end_wait(turn: Turn, run: RunView, task: TaskState, pos: int, reason: str, error: dict[str, Any] | None) -> None:
    """A deferred try fails: it holds no process and no place, so its row ends in this turn."""
    token = task.instance(pos).token
    turn.state.tokens.pop(token or "", None)
    frame = {"soft_fail": task.spec.soft_fail and reason == Reason.SENSOR_TIMEOUT}
    result = {"token": token, "outcome": "fail", "ended_at": turn.now, "reason": reason, "frame": frame, "error": error}
    _fail(turn, run, task, pos, result)
    stops.fail_fast(turn)
    flow.spread(turn)


def timeout_due(turn: Turn, run: RunView, task: TaskState, pos: int, token: str | None) -> None:
    """A try ran out of its execution_timeout while deferred."""
    instance = task.instances.get(pos)
    if instance is not None and task.states[pos] in stops.WITHOUT_PROCESS and instance.token == token:
        _end_wait(turn, run, task, pos, Reason.TIMEOUT, None)


def _stopped(turn: Turn, run: RunView, task: TaskState, pos: int, result: Result) -> None:
    reason = task.instance(pos).stop_reason or result.get("reason") or Reason.CANCELLED
    if reason in (Reason.STOPPED, Reason.NOT_STARTED):
        _fail(turn, run, task, pos, {**result, "reason": reason})
        return
    failed = reason == Reason.DAGRUN_TIMEOUT
    if failed:
        call_back(turn, run, task, pos, "failure", {"type": "TaskFailed", "message": reason})
    _end_row(turn, run, task, pos, result, "fail" if failed else "cancel", reason=reason)
    end_instance(turn, run, task, pos, AttemptState.FAILED if failed else AttemptState.CANCELLED)


def _fail(turn: Turn, run: RunView, task: TaskState, pos: int, result: Result) -> None:
    instance, frame = task.instance(pos), result.get("frame") or {}
    reason = result.get("reason") or Reason.EXCEPTION
    error = result.get("error") or frame.get("error")
    following = next_try(task.spec, instance, reason, frame, turn.now, turn.jitter)
    text = None if error is None else json.dumps(error)
    if following.at is None and frame.get("soft_fail"):
        _end_row(turn, run, task, pos, result, "skip", reason=reason, error=text)
        call_back(turn, run, task, pos, "skipped")
        end_instance(turn, run, task, pos, AttemptState.SKIPPED)
        return
    _end_row(
        turn, run, task, pos, result, "fail", reason=reason, error=text, charged=following.charge,
        next_try_at=following.at,
    )  # fmt: skip
    if following.at is None:
        call_back(turn, run, task, pos, "failure", error)
        end_instance(turn, run, task, pos, AttemptState.FAILED)
        return
    call_back(turn, run, task, pos, "retry", error)
    pause_until(turn, run, task, pos, instance, following.at)


def pause_until(turn: Turn, run: RunView, task: TaskState, pos: int, instance: Instance, at: int) -> None:
    """Between two tries: ready at once when the pause is over, else by a timer."""
    instance.leg, instance.leg_state, instance.token = 0, None, None
    instance.first_started_at, instance.resume_at, instance.trigger = None, None, None
    instance.next_try_at = at
    task.states[pos] = RETRYING
    if at <= turn.now:
        flow.retry_due(turn, run, task, pos)
    else:
        turn.state.set_timer(at, "retry", run.id, task.i, pos, instance.try_no)
