"""Requests about backfills: create, pause, resume, cancel. Each ends done or refused, with its effect."""

from __future__ import annotations

from dagd.decide import backfills, stops
from dagd.decide.commands import Request, done, refuse
from dagd.decide.state import BackfillView, DagState
from dagd.decide.turn import Turn
from dagd.model.states import BackfillState, Reason, RunState

B = BackfillState


def apply(turn: Turn, request: Request) -> None:
    """Carry out a request, or refuse it with a sentence."""
    view = request.backfill
    if view is None:
        refuse(turn, request, "there is no such backfill")
        return
    dag = turn.state.dags[view.dag]
    view = dag.backfills.get(view.id, view)  # an earlier request of the same sweep may have changed it
    verb = {
        "backfill_create": _create, "backfill_pause": _pause, "backfill_resume": _resume, "backfill_cancel": _cancel,
    }[request.kind]  # fmt: skip
    if request.kind != "backfill_create" and not view.state.is_active:
        if (request.kind, view.state) == ("backfill_cancel", B.CANCELLED):
            done(turn, request, state=view.state.word)
        else:
            refuse(turn, request, f"backfill {view.name} has already ended as {view.state.word}")
    else:
        verb(turn, request, dag, view)


def _create(turn: Turn, request: Request, dag: DagState, view: BackfillView) -> None:
    why = None
    if dag.held is not None:
        why = f"DAG {dag.name} is set aside: {dag.held}"
    elif dag.timetable is None or dag.timetable.is_continuous:
        why = f"DAG {dag.name} has no schedule in time any more: there are no slots to run"
    if why is not None:
        backfills.move(turn, dag, view, "cancel", B.CANCELLED)
        refuse(turn, request, why)
        return
    dag.backfills[view.id] = view
    backfills.move(turn, dag, view, "start", B.RUNNING)
    turn.state.set_timer(turn.now, "slot", dag.id)
    done(turn, request, state=view.state.word)


def _pause(turn: Turn, request: Request, dag: DagState, view: BackfillView) -> None:
    if view.state is not B.PAUSED:
        backfills.move(turn, dag, view, "pause", B.PAUSED)
    done(turn, request, state=view.state.word)


def _resume(turn: Turn, request: Request, dag: DagState, view: BackfillView) -> None:
    if view.state is B.PAUSED:
        backfills.move(turn, dag, view, "resume", B.RUNNING)
        turn.state.set_timer(turn.now, "slot", dag.id)
    done(turn, request, state=view.state.word)


def _cancel(turn: Turn, request: Request, dag: DagState, view: BackfillView) -> None:
    """No run starts any more, and those that run are cancelled; they are counted now, since their end is fixed."""
    stopped = len(view.active)
    for run_id in sorted(view.active):
        run = turn.state.runs.get(run_id)
        if run is not None and run.state is RunState.RUNNING and run.verdict is None:
            stops.stop_run(turn, run, RunState.CANCELLED, Reason.CANCELLED, "cancel")
    view.done += stopped
    view.active.clear()
    backfills.move(turn, dag, view, "cancel", B.CANCELLED)
    done(turn, request, state=view.state.word, stopped=stopped)
