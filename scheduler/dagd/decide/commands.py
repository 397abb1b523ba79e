"""Requests of people and programs: cancel, mark, clear, kill. Each ends done or refused, with its effect.

Clear and mark on task instances change rows, not counters: the run is loaded again after the commit
(`Plan.reloads`), and nothing else of it is decided in that turn.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from dagd.decide import backfills, deadlines, runs, stops
from dagd.decide.settling import ADMITTED
from dagd.decide.state import READY, WAITING, BackfillView, RunView, TaskState
from dagd.decide.turn import Turn
from dagd.model.plans import EVERY_INDEX, CommandDone, End, RunMove, Settle, StopRequest, Supersede
from dagd.model.states import ATTEMPT_MOVES, AttemptState, Reason, RunState


@dataclass(frozen=True, slots=True)
class Request:
    """A row of `command`. `run` and `backfill` are loaded by the engine when the request names one, ended ones too."""

    id: int
    kind: str
    run: RunView | None
    payload: dict[str, Any]
    backfill: BackfillView | None = None

    @property
    def dag(self) -> int | None:
        """The DAG of what the request names."""
        named = self.run or self.backfill
        return None if named is None else named.dag


MARKS = {"success": "succeed", "failed": "fail", "skipped": "skip"}
EVENT_OF = {int(move.target): move.event for move in ATTEMPT_MOVES.values() if move.births}
RUN_VERDICTS = {"success": RunState.SUCCESS, "failed": RunState.FAILED}


def apply(turn: Turn, request: Request) -> None:
    """Carry out a request, or refuse it with a sentence."""
    verb = {"cancel": _cancel, "mark_run": _mark_run, "clear": _clear, "mark_tasks": _mark_tasks, "kill": _kill}.get(
        request.kind
    )
    if verb is None:
        refuse(turn, request, f"unknown request {request.kind!r}")
    elif request.run is None:
        refuse(turn, request, "there is no such run")
    elif turn.dag(request.run).held is not None:
        refuse(turn, request, f"DAG {turn.dag(request.run).name} is set aside: {turn.dag(request.run).held}")
    else:
        # An earlier request of the same sweep may have changed it.
        verb(turn, request, turn.state.runs.get(request.run.id, request.run))


def done(turn: Turn, request: Request, **result: Any) -> None:
    """The request was carried out."""
    turn.plan.commands.append(CommandDone(request.id, True, json.dumps(result)))


def refuse(turn: Turn, request: Request, why: str) -> None:
    """The request conflicts with what is."""
    turn.plan.commands.append(CommandDone(request.id, False, json.dumps({"error": why})))


def _cancel(turn: Turn, request: Request, run: RunView) -> None:
    if run.state is RunState.CANCELLED or run.verdict is RunState.CANCELLED:
        done(turn, request, state=run.state.word)
    elif not run.state.is_active:
        refuse(turn, request, f"run {run.run_id} has already ended as {run.state.word}")
    elif run.state is RunState.QUEUED:
        end_queued(turn, run, RunState.CANCELLED, Reason.CANCELLED)
        done(turn, request, state="cancelled")
    else:
        stops.stop_run(turn, run, RunState.CANCELLED, Reason.CANCELLED, "cancel")
        done(turn, request, state="cancelling")


def end_queued(turn: Turn, run: RunView, state: RunState, reason: str) -> None:
    """End a run that never started."""
    run.state, run.reason, run.verdict = state, reason, state
    turn.plan.verdicts.append((run.id, int(state), reason))
    event = runs.RUN_EVENT[state]
    if event == "succeed":
        turn.plan.run_moves.append(RunMove(run.id, "start", turn.now))
    turn.plan.run_moves.append(RunMove(run.id, event, turn.now, reason))
    deadlines.on_run_ended(turn, run, state)
    runs.leave_queue(turn.dag(run), run)
    runs.detach(turn, run)
    backfills.note_end(turn, run)
    turn.state.set_timer(turn.now, "slot", run.dag)  # its place may be another's


def _mark_run(turn: Turn, request: Request, run: RunView) -> None:
    state = RUN_VERDICTS[request.payload["state"]]
    if run.state is RunState.QUEUED:
        end_queued(turn, run, state, Reason.MARKED)
    elif run.state is RunState.RUNNING:
        stops.stop_run(turn, run, state, Reason.MARKED, "skip")
    else:
        turn.plan.verdicts.append((run.id, int(state), Reason.MARKED))
        turn.plan.run_moves.append(RunMove(run.id, "reopen", turn.now))
        turn.plan.run_moves.append(RunMove(run.id, runs.RUN_EVENT[state], turn.now, Reason.MARKED))
        backfills.note_mark(turn, run, state)
    done(turn, request, state=state.word)


def _kill(turn: Turn, request: Request, run: RunView) -> None:
    asked = 0
    for task, index in _named(run, request.payload["instances"]):
        for pos, instance in list(task.instances.items()):
            live = instance.token is not None and task.states[pos] in ADMITTED and instance.stop_reason is None
            if live and (index is None or task.map_index(pos) == index):
                asked += 1
                if task.states[pos] in stops.WITHOUT_PROCESS:
                    stops.end_deferred(turn, run, task, pos, Reason.CANCELLED)
                else:
                    instance.stop_reason = Reason.CANCELLED
                    turn.plan.stops.append(_stop(turn, run, task, pos, Reason.CANCELLED))
    if asked:
        done(turn, request, stopped=asked)
    else:
        refuse(turn, request, "no try of it is running")


def _stop(turn: Turn, run: RunView, task: TaskState, pos: int, reason: str) -> StopRequest:
    instance = task.instance(pos)
    grace = task.spec.cancel_grace_us
    return StopRequest(turn.key(run, task, pos), instance.try_no, instance.token or "", reason, grace)


def _named(run: RunView, instances: list[list[Any]]) -> list[tuple[TaskState, int | None]]:
    """The tasks that a payload names ([task_id, map_index | null] each); new ones for a run without counters."""
    tasks = run.tasks or [TaskState(run.graph, i) for i in range(len(run.graph.tasks))]
    return [(tasks[run.graph.index[task_id]], index) for task_id, index in instances]


def _supersede(
    turn: Turn, request: Request, run: RunView, task: TaskState, index: int | None, reason: str, drop: bool
) -> None:
    key = (run.id, task.no, EVERY_INDEX if index is None else index)
    # What a marked task returned stays: instances mapped over it may not have been launched yet.
    turn.plan.supersedes.append(Supersede(key, request.id, drop, drop_values=reason != Reason.MARKED))
    for pos, instance in list(task.instances.items()):
        if instance.token is None or task.states[pos] not in ADMITTED:
            continue
        if index is not None and task.map_index(pos) != index:
            continue
        own = turn.key(run, task, pos)
        if task.states[pos] in stops.WITHOUT_PROCESS:
            turn.plan.ends.append(End(own, instance.try_no, instance.token, "cancel", turn.now, reason=reason))
        else:
            turn.state.superseded[instance.token] = (own, instance.try_no, reason)
            turn.plan.stops.append(_stop(turn, run, task, pos, reason))


def _speak_for_each(turn: Turn, request: Request, run: RunView, task: TaskState, cleared: set[int]) -> None:
    """The row of index -1 may speak for a cleared index: then each of the others gets a row of its own."""
    if task.rest is None or not task.rest[1] & cleared:
        return
    reason, covered = task.rest
    task.rest = None
    turn.plan.supersedes.append(Supersede((run.id, task.no, -1), request.id))
    for pos in sorted(covered - cleared):
        turn.plan.settles.append(Settle((run.id, task.no, pos), EVENT_OF[task.states[pos]], reason, turn.now))


def _indices_with_rows(task: TaskState) -> list[int]:
    """The indices of a mapped task that the row of index -1 cannot speak for: they have rows of their own."""
    if not task.is_mapped or task.is_whole or task.size is None:
        return []
    covered = task.rest[1] if task.rest is not None else frozenset()
    begun = [pos for pos, code in enumerate(task.states) if code not in (WAITING, READY) or pos in task.instances]
    return [pos for pos in begun if pos not in covered]


def _reopen(turn: Turn, run: RunView) -> None:
    if not run.state.is_active:
        turn.plan.run_moves.append(RunMove(run.id, "reopen", turn.now))
        backfills.note_reopening(turn, run)
    turn.plan.verdicts.append((run.id, 0, None))
    turn.plan.reloads.append(run.id)


def _clear(turn: Turn, request: Request, run: RunView) -> None:
    cleared = _named(run, request.payload["instances"])
    names = {task.i for task, index in cleared if index is None}
    for task, index in cleared:
        drop = index is None and bool(run.graph.sources[task.i] & names)
        _supersede(turn, request, run, task, index, Reason.CLEARED, drop)
        _speak_for_each(turn, request, run, task, {at for other, at in cleared if other is task and at is not None})
    if run.state is not RunState.QUEUED:
        _reopen(turn, run)
    done(turn, request, cleared=len(cleared))


def _mark_tasks(turn: Turn, request: Request, run: RunView) -> None:
    event = MARKS[request.payload["state"]]
    if run.state is RunState.QUEUED:
        refuse(turn, request, f"run {run.run_id} has not started: mark the run, or its tasks once it runs")
        return
    for task, index in _named(run, request.payload["instances"]):
        _supersede(turn, request, run, task, index, Reason.MARKED, False)
        for stored in [*_indices_with_rows(task), -1] if index is None else [index]:
            turn.plan.settles.append(Settle((run.id, task.no, stored), event, Reason.MARKED, turn.now))
        _look_anew_below(turn, request, run, task)
    _reopen(turn, run)
    done(turn, request, state=request.payload["state"])


def _look_anew_below(turn: Turn, request: Request, run: RunView, task: TaskState) -> None:
    """What is below follows a mark: instances that only the ends above them kept from running are decided anew. Those
    that a branch left out, a stop ended or a hand marked stay."""
    for i in sorted(run.graph.below(task.i)):
        other, key = run.tasks[i], (run.id, run.tasks[i].no, EVERY_INDEX)
        if other.count(AttemptState.UPSTREAM_FAILED) or other.count(AttemptState.SKIPPED):
            turn.plan.supersedes.append(Supersede(key, request.id, settled_as=Reason.UPSTREAM))


# States that a request may leave an ended instance in; the CLI's help shows them.
MARKABLE = (AttemptState.SUCCESS, AttemptState.FAILED, AttemptState.SKIPPED)
