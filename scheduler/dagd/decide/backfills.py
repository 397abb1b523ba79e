"""Backfills: a range of slots in one row with a cursor. Runs come into being as places free up, never all at once.

A backfill has places of its own (`max_active`) beside the DAG's `max_active_runs`; pools and `max_active_tasks` hold
for all, and admission takes scheduled runs before those of backfills. So the cost of a turn depends on `max_active`,
not on how long the range is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from dagd.decide import runs
from dagd.decide.state import BackfillView, DagState, RunView
from dagd.decide.turn import Turn
from dagd.model.plans import EVERY_INDEX, EVERY_TASK, BackfillMove, BackfillProgress, RunMove, Supersede
from dagd.model.states import ACTIVE_BELOW, BackfillState, Reprocess, RunKind, RunState
from dagd.timetables.base import Slot, Timetable

SLOTS_PER_TURN = 100
MOST_SLOTS = 100_000


class Span(Protocol):
    """What of a backfill says which slots are its."""

    @property
    def from_at(self) -> int: ...
    @property
    def to_at(self) -> int: ...
    @property
    def until(self) -> int: ...
    @property
    def is_reverse(self) -> bool: ...


def slots_of(timetable: Timetable, span: Span) -> Iterator[Slot]:
    """The slots of a range, from the earliest: by logical date, both ends included, never one that was yet to come."""
    for slot in timetable.slots_after(span.from_at - 1):
        if slot.logical_at > span.to_at or slot.due_at > span.until:
            return
        if slot.logical_at >= span.from_at:
            yield slot


def end_of(timetable: Timetable, span: Span) -> int:
    """When the last slot of a range falls due, or an instant after it and before the next."""
    at = min(span.to_at, span.until)
    while (slot := timetable.next_after(at)) and slot.logical_at <= span.to_at and slot.due_at <= span.until:
        at = slot.due_at
    return at


def first_cursor(timetable: Timetable, span: Span) -> int:
    """Where the cursor of a backfill begins."""
    return end_of(timetable, span) + 1 if span.is_reverse else span.from_at - 1


def bounds_to_come(timetable: Timetable, view: BackfillView) -> tuple[int, int]:
    """Between which instants, both included, the slots to come fall due."""
    if view.is_reverse:
        return view.from_at, view.cursor - 1
    return view.cursor + 1, end_of(timetable, view)


def next_slot(timetable: Timetable | None, view: BackfillView) -> Slot | None:
    """The slot that the backfill takes next, by the schedule as it is now; None when it has come to its end."""
    if timetable is None or timetable.is_continuous:
        return None
    if not view.is_reverse:
        slot = timetable.next_after(view.cursor)
        while slot is not None and slot.logical_at < view.from_at:
            slot = timetable.next_after(slot.due_at)
        return slot if slot and slot.logical_at <= view.to_at and slot.due_at <= view.until else None
    slot = timetable.last_until(min(view.cursor - 1, view.until))
    while slot is not None and slot.logical_at > view.to_at:
        slot = timetable.last_until(slot.due_at - 1)
    return slot if slot and slot.logical_at >= view.from_at else None


def fill(turn: Turn, dag: DagState) -> None:
    """Give the free places of the DAG's backfills to their next slots. A paused DAG starts nothing."""
    if dag.graph is not None and dag.held is None:
        for view in list(dag.backfills.values()):
            _fill(turn, dag, view, may_start=dag.is_schedulable and view.state is BackfillState.RUNNING)


def _fill(turn: Turn, dag: DagState, view: BackfillView, *, may_start: bool) -> None:
    slot = next_slot(dag.timetable, view)
    while slot is not None and may_start and len(view.active) < view.max_active:
        if turn.slots_backfilled >= SLOTS_PER_TURN or _ended_now(turn, view, slot):
            turn.state.set_timer(turn.now, "slot", dag.id)  # the rest in the next turn
            return
        turn.slots_backfilled += 1
        turn.backfills[view.id] = view
        view.cursor = slot.due_at
        _take(turn, dag, view, slot)
        slot = next_slot(dag.timetable, view)
    if slot is None and not view.active:
        move(turn, dag, view, "finish", BackfillState.DONE)


def _ended_now(turn: Turn, view: BackfillView, slot: Slot) -> bool:
    """Whether the slot's run ended in this turn and may run again: its rows are not written yet."""
    found = view.taken.get(slot.due_at)
    if view.reprocess is Reprocess.NONE:
        return False
    return found is not None and any(run_move.run == found[0] for run_move in turn.plan.run_moves)


def _take(turn: Turn, dag: DagState, view: BackfillView, slot: Slot) -> None:
    found = view.taken.pop(slot.due_at, None)
    if found is None:
        run = runs.create_run(turn, dag, RunKind.BACKFILL, slot, backfill=view)
        runs.start_run(turn, dag, run)
    elif runs_again(view.reprocess, _state_now(turn, *found)):
        _run_again(turn, dag, view, found[0])
    else:
        view.kept += 1
        view.done += 1


def _state_now(turn: Turn, run_id: int, state: int) -> int:
    known = turn.state.runs.get(run_id)
    return state if known is None else int(known.state)


def runs_again(reprocess: Reprocess, state: int) -> bool:
    """Whether the run that a slot has already is run again: one that has not ended never is."""
    if state < ACTIVE_BELOW or reprocess is Reprocess.NONE:
        return False
    return reprocess is Reprocess.COMPLETED or state == RunState.FAILED


def _run_again(turn: Turn, dag: DagState, view: BackfillView, run_id: int) -> None:
    """An ended run is cleared as a whole and opened again with the DAG's version of now; the rows of its tries stay,
    superseded by the backfill's id below zero, which no request has."""
    assert dag.graph is not None
    plan = turn.plan
    plan.supersedes.append(Supersede((run_id, EVERY_TASK, EVERY_INDEX), -view.id, drop_expansion=True))
    plan.verdicts.append((run_id, 0, None))
    plan.run_moves.append(RunMove(run_id, "reopen", turn.now))
    plan.pins.append((run_id, dag.graph.version))
    plan.adoptions.append((run_id, view.id, None if view.conf == "{}" else view.conf))
    plan.reloads.append(run_id)
    view.active.add(run_id)


def move(turn: Turn, dag: DagState, view: BackfillView, event: str, state: BackfillState) -> None:
    """A backfill changes its state; one that has ended leaves memory."""
    view.state = state
    turn.plan.backfill_moves.append(BackfillMove(view.id, event, turn.now))
    turn.backfills[view.id] = view
    if not state.is_active:
        dag.backfills.pop(view.id, None)


def note_end(turn: Turn, run: RunView) -> None:
    """A run has ended: count it for its backfill; one that comes to its slot later knows how it ended."""
    dag = turn.dag(run)
    for view in dag.backfills.values():
        if run.slot in view.taken:
            view.taken[run.slot] = (run.id, int(run.state))
    mine = _of(turn, run)
    if mine is not None:
        _count(turn, mine, run.state, 1)
        mine.spent_us += turn.now - (run.started_at or turn.now)


def note_reopening(turn: Turn, run: RunView) -> None:
    """An ended run is cleared while its backfill goes on: it will be counted again."""
    view = _of(turn, run)
    if view is not None:
        _count(turn, view, run.state, -1)


def note_mark(turn: Turn, run: RunView, state: RunState) -> None:
    """The end of an ended run is changed by hand."""
    note_reopening(turn, run)
    view = _of(turn, run)
    if view is not None:
        _count(turn, view, state, 1)
    for other in turn.dag(run).backfills.values():
        if run.slot in other.taken:
            other.taken[run.slot] = (run.id, int(state))


def _of(turn: Turn, run: RunView) -> BackfillView | None:
    return None if run.backfill is None else turn.dag(run).backfills.get(run.backfill)


def _count(turn: Turn, view: BackfillView, state: RunState, step: int) -> None:
    view.done += step
    view.success += step if state is RunState.SUCCESS else 0
    view.failed += step if state is RunState.FAILED else 0
    turn.backfills[view.id] = view


def record(turn: Turn) -> None:
    """Put how far each backfill is into the plan, once a turn."""
    for view in turn.backfills.values():
        progress = BackfillProgress(
            view.id, view.cursor, view.done, view.success, view.failed, view.kept, view.spent_us
        )
        turn.plan.backfills.append(progress)
