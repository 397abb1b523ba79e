"""Runs: created for slots, asset events and requests; started when a place is free; ended when every task has."""

from __future__ import annotations

import bisect
import heapq

from dagd.decide import deadlines, flow
from dagd.decide.assets import events_to_consume, leaves_of
from dagd.decide.state import BackfillView, DagState, PastRun, RunView
from dagd.decide.turn import Turn
from dagd.model.plans import NewRun, NextDue, RunMove
from dagd.model.states import AttemptState, DeadlineState, RunKind, RunState
from dagd.model.times import iso
from dagd.timetables.base import Slot, Timetable

PREFIX = {RunKind.SCHEDULED: "scheduled__", RunKind.ASSET: "asset__", RunKind.BACKFILL: "backfill__"}
FINE = (AttemptState.SUCCESS, AttemptState.SKIPPED)
RUNS_PER_TURN = 500
LONGEST_STALL_US = 5_000_000


def slot_floor(dag: DagState) -> int:
    """No slot at or before this instant becomes a run: first seen, unpaused, found again (catch-up ignores them)."""
    return max(dag.first_seen_at, dag.unpaused_at or 0, dag.found_again_at or 0)


def first_due(dag: DagState, timetable: Timetable | None, now: int, *, changed: bool = False) -> int | None:
    """When the next slot falls due, from what is stored; `changed`: the grid is new and opens after `now`."""
    if timetable is None or dag.graph is None:
        return None
    if timetable.is_once:
        slot = timetable.first()
        return None if slot is None or (dag.last_slot is not None and slot.due_at <= dag.last_slot) else slot.due_at
    if dag.graph.spec.catchup:
        if dag.last_slot is None:
            slot = timetable.first() or timetable.next_after(dag.first_seen_at)
        else:
            slot = timetable.next_after(dag.last_slot)
    else:
        after = max(slot_floor(dag), dag.last_slot or 0)
        if dag.scheduled_version is not None:
            is_waiting = not changed and dag.next_due is not None and dag.next_due <= now
            after = max(after, dag.next_due - 1 if is_waiting and dag.next_due is not None else now)
        slot = timetable.next_after(after)
    return None if slot is None else slot.due_at


def refresh_due(turn: Turn, dag: DagState, *, changed: bool) -> None:
    """Bring the next slot in line with what the DAG's row says now: an edit, an unpause, a file gone or back."""
    assert dag.graph is not None
    if changed:
        _close_grid(turn, dag)
    _move_due(turn, dag, first_due(dag, dag.timetable, turn.now, changed=changed), is_closed=changed)
    arm(turn, dag)


def _move_due(turn: Turn, dag: DagState, due: int | None, *, is_closed: bool = False) -> None:
    assert dag.graph is not None
    version = dag.graph.version
    if due != dag.next_due or version != dag.scheduled_version or is_closed:
        turn.plan.next_dues.append(NextDue(dag.id, dag.next_due, due, version, dag.last_slot, guarded=False))
        dag.next_due, dag.scheduled_version = due, version


def _close_grid(turn: Turn, dag: DagState) -> None:
    """The old grid ends: what it still owes runs as far as there is a place. Of the new one nothing that is past will,
    but where catch-up has not begun."""
    assert dag.graph is not None
    is_untouched = dag.graph.spec.catchup and dag.last_slot is None
    if dag.old_timetable is not None and not is_untouched:
        _move_due(turn, dag, first_due(dag, dag.old_timetable, turn.now))
        create_due(turn, dag, dag.old_timetable)
    dag.old_timetable = None
    if dag.last_slot is not None:
        dag.last_slot = max(dag.last_slot, turn.now)


def subscribe(turn: Turn, dag: DagState) -> None:
    """Listen to exactly the assets of the current version's condition."""
    assert dag.graph is not None
    wanted = leaves_of(dag.graph.spec.condition)
    if wanted != dag.subscribed:
        turn.plan.subscriptions.append((dag.id, wanted))
        dag.subscribed = wanted
        for key in set(dag.open_events) - set(wanted):
            del dag.open_events[key]


def arm(turn: Turn, dag: DagState) -> None:
    """Set the timer of the DAG's next slot."""
    if dag.next_due is not None:
        turn.state.set_timer(dag.next_due, "slot", dag.id)


def create_due(turn: Turn, dag: DagState, timetable: Timetable | None) -> None:
    """Create the runs whose slots have fallen due: the latest one, or with catch-up as many as have a place."""
    if dag.next_due is None or dag.next_due > turn.now or not dag.is_schedulable or timetable is None:
        return
    assert dag.graph is not None
    if timetable.is_continuous:
        _create_continuous(turn, dag, timetable)
    elif not dag.graph.spec.catchup:
        slot = timetable.last_until(turn.now)
        if slot is None or slot.due_at < dag.next_due:
            slot = timetable.next_after(turn.now)
        else:
            _create_stalled(turn, dag, timetable, slot)
        _create_slot(turn, dag, timetable, slot)
    else:
        _catch_up(turn, dag, timetable)


def _create_stalled(turn: Turn, dag: DagState, timetable: Timetable, last: Slot) -> None:
    """The slots before `last` that fell due since the turn before this one: a long turn is no downtime."""
    awake_at, first = turn.state.awake_at, dag.next_due
    if awake_at is None or first is None or first <= awake_at or turn.now - first > LONGEST_STALL_US:
        return
    while dag.next_due is not None and dag.next_due < last.due_at:
        _create_slot(turn, dag, timetable, timetable.next_after(dag.next_due - 1))


def _create_continuous(turn: Turn, dag: DagState, timetable: Timetable) -> None:
    if not dag.running and not dag.queued:
        _create_slot(turn, dag, timetable, timetable.next_after(turn.now - 1))


def _catch_up(turn: Turn, dag: DagState, timetable: Timetable) -> None:
    while dag.next_due is not None and dag.next_due <= turn.now:
        if len(dag.running) + len(dag.queued) >= dag.max_runs:
            return
        if turn.slots_caught_up >= RUNS_PER_TURN:
            turn.state.set_timer(turn.now, "slot", dag.id)  # the rest in the next turn
            return
        turn.slots_caught_up += 1
        _create_slot(turn, dag, timetable, timetable.next_after(dag.next_due - 1))


def _create_slot(turn: Turn, dag: DagState, timetable: Timetable, slot: Slot | None) -> None:
    """The run of a slot that has fallen due; for one yet to come (or none) the DAG's clock alone moves on."""
    assert dag.graph is not None
    following, last_slot = slot, dag.last_slot
    is_due = slot is not None and slot.due_at <= turn.now
    if slot is not None and is_due:
        following, last_slot = timetable.next_after(slot.due_at), slot.due_at
    due = None if following is None else following.due_at
    _move_clock(turn, dag, NextDue(dag.id, dag.next_due, due, dag.graph.version, last_slot))
    if slot is not None and is_due and slot.due_at not in dag.taken:
        create_run(turn, dag, RunKind.SCHEDULED, slot)
    if slot is not None:
        dag.taken.discard(slot.due_at)  # S1: a backfill has made the run of this slot
    arm(turn, dag)


def _move_clock(turn: Turn, dag: DagState, step: NextDue) -> None:
    """The DAG's clock moves on; several steps of a turn are written as one."""
    last = turn.plan.next_dues[-1] if turn.plan.next_dues else None
    if last is not None and last.dag == step.dag and last.guarded:
        last.next_due, last.last_slot = step.next_due, step.last_slot
    else:
        turn.plan.next_dues.append(step)
    dag.next_due, dag.last_slot = step.next_due, step.last_slot


def create_run(
    turn: Turn, dag: DagState, kind: RunKind, slot: Slot, events: tuple[int, ...] = (),
    backfill: BackfillView | None = None,
) -> RunView:  # fmt: skip
    """A run enters the plan and the DAG's queue; that of a backfill has its place already, and begins at once."""
    assert dag.graph is not None
    new_id = turn.state.new_id(dag.shard, turn.now)
    name = PREFIX[kind] + (str(iso(slot.due_at)) if kind is not RunKind.ASSET else str(new_id))
    new = NewRun(
        id=new_id, dag=dag.id, run_id=name, kind=kind, version=dag.graph.version, due_at=slot.due_at,
        logical_at=slot.logical_at, interval_start=slot.start_at, interval_end=slot.end_at,
        slot=None if kind is RunKind.ASSET else slot.due_at, created_at=turn.now, events=events,
    )  # fmt: skip
    if backfill is not None:
        new.backfill, new.conf = backfill.id, backfill.conf
    turn.plan.new_runs.append(new)
    facts = {
        "id": new.id, "run_id": name, "kind": kind, "state": RunState.QUEUED, "due_at": new.due_at,
        "logical_at": new.logical_at, "interval_start": new.interval_start, "interval_end": new.interval_end,
        "created_at": new.created_at, "slot": new.slot, "backfill_id": new.backfill, "conf": new.conf,
    }  # fmt: skip
    run = RunView(dag.graph, dag.id, facts)
    if backfill is None:
        enlist(turn, dag, run)
    else:
        turn.state.runs[run.id] = run
        place_in_order(turn.state.runs, dag, run)
    _note_slot(dag, run)
    deadlines.set_with_run(turn, run)
    return run


def _note_slot(dag: DagState, run: RunView) -> None:
    """S1: a slot that has its run gets no other, from the schedule or from a backfill that comes to it later."""
    if run.slot is None:
        return
    if run.backfill is not None and (dag.next_due is None or run.slot >= dag.next_due):
        dag.taken.add(run.slot)
    for view in dag.backfills.values():
        if view.is_to_come(run.slot):
            view.taken[run.slot] = (run.id, int(run.state))


def enlist(turn: Turn, dag: DagState, run: RunView) -> None:
    """A queued run takes its place in the DAG's queue and order."""
    turn.state.runs[run.id] = run
    heapq.heappush(dag.queued, (run.rank, run.due_at, run.id))
    place_in_order(turn.state.runs, dag, run)


def place_in_order(runs: dict[int, RunView], dag: DagState, run: RunView) -> None:
    """Insert an unended run in its DAG's order: by due instant, then id."""
    bisect.insort(dag.order, run.id, key=lambda other: (runs[other].due_at, other))


def trigger_by_assets(turn: Turn, dag: DagState) -> None:
    """Create the run that the open asset events ask for, when a place is free."""
    if not dag.is_schedulable or not dag.open_events or dag.graph is None:
        return
    spec, unpaused_at = dag.graph.spec, dag.unpaused_at or 0
    if spec.on_unpause == "skip":
        _drop_accumulated(turn, dag, unpaused_at)
    while len(dag.running) + len(dag.queued) < dag.max_runs:
        events = events_to_consume(dag)
        if not events:
            return
        known = {event: ts for opened in dag.open_events.values() for event, ts in opened.items()}
        if spec.trigger_mode == "each" or (spec.on_unpause == "each" and known[events[0]] <= unpaused_at):
            events = events[:1]
        for opened in dag.open_events.values():
            for event in events:
                opened.pop(event, None)
        slot = Slot(turn.now, turn.now, turn.now, turn.now)
        run = create_run(turn, dag, RunKind.ASSET, slot, tuple(events))
        turn.plan.consumed.append((dag.id, run.id, tuple(events)))


def _drop_accumulated(turn: Turn, dag: DagState, unpaused_at: int) -> None:
    """What came in until the DAG was unpaused starts nothing."""
    old = [event for opened in dag.open_events.values() for event, ts in opened.items() if ts <= unpaused_at]
    if old:
        turn.plan.dropped.append((dag.id, tuple(sorted(old))))
        for opened in dag.open_events.values():
            for event in old:
                opened.pop(event, None)


def start_queued(turn: Turn, dag: DagState) -> None:
    """Start queued runs while the DAG may have more of them running."""
    while dag.queued and not dag.paused and len(dag.running) < dag.max_runs:
        run = turn.state.runs.get(dag.queued[0][2])
        if run is not None and run.graph.uses_past:
            # In their order, whatever their rank: a run that waits for one before it must not hold the last place.
            run = _first_in_order(turn.state.runs, dag) or run
        if run is None:
            heapq.heappop(dag.queued)
            continue
        leave_queue(dag, run)
        if run.state is RunState.QUEUED:
            start_run(turn, dag, run)


def _first_in_order(known: dict[int, RunView], dag: DagState) -> RunView | None:
    return next((run for run in map(known.get, dag.order) if run and run.state is RunState.QUEUED), None)


def leave_queue(dag: DagState, run: RunView) -> None:
    """A run waits no longer for its turn: it starts, or it ended without one."""
    entry = (run.rank, run.due_at, run.id)
    if dag.queued and dag.queued[0] == entry:
        heapq.heappop(dag.queued)
    elif entry in dag.queued:
        dag.queued.remove(entry)
        heapq.heapify(dag.queued)


def start_run(turn: Turn, dag: DagState, run: RunView) -> None:
    """A run begins: every task gets its counters, those without upstreams become ready."""
    run.state, run.started_at = RunState.RUNNING, turn.now
    dag.take_place(run)
    turn.plan.run_moves.append(RunMove(run.id, "start", turn.now))
    run.previous = dag.past_before(run)
    run.lay_out()
    turn.touched_runs[run.id] = run
    arm_timeout(turn, run)
    deadlines.close(turn, run, deadlines.WHOLE_RUN, DeadlineState.MET, by="start")
    deadlines.set_at(turn, run, frozenset({"started"}), deadlines.WHOLE_RUN)
    for task in run.tasks:
        task.past_ok = flow.past_blocker(turn, run, task) is None
    for task in run.tasks:
        flow.evaluate(turn, run, task)
    flow.spread(turn)


def arm_timeout(turn: Turn, run: RunView) -> None:
    """Set the timer of dagrun_timeout."""
    limit = run.graph.spec.dagrun_timeout_us
    if limit is not None and run.started_at is not None:
        turn.state.set_timer(run.started_at + limit, "run_timeout", run.id)


def is_out_of_time(turn: Turn, run: RunView) -> bool:
    """Whether dagrun_timeout has passed since the run's start (a clear may have started it anew)."""
    limit = run.graph.spec.dagrun_timeout_us
    return limit is not None and run.started_at is not None and run.started_at + limit <= turn.now


def verdict_of(run: RunView) -> RunState:
    """Success when every task that counts ended success or skipped, unless a stop has fixed the end already."""
    if run.verdict is not None:
        return run.verdict
    leaves_only = run.graph.spec.success_when == "leaves"
    for task in run.tasks:
        spec = task.spec
        if leaves_only and task.i not in run.graph.leaves:
            continue
        if spec.is_teardown and not spec.on_failure_fail_dagrun:
            continue
        bad = len(task.states) - task.count(*FINE, AttemptState.REMOVED)
        if spec.allow_failure:
            bad -= task.count(AttemptState.FAILED)
        if bad:
            return RunState.FAILED
    return RunState.SUCCESS


RUN_EVENT = {RunState.SUCCESS: "succeed", RunState.FAILED: "fail", RunState.CANCELLED: "cancel"}


def end_run_if_over(turn: Turn, run: RunView) -> bool:
    """Close a run whose every task has ended."""
    if run.state is not RunState.RUNNING or run.open_tasks or run.active:
        return False
    state = verdict_of(run)
    run.state = state
    turn.plan.run_moves.append(RunMove(run.id, RUN_EVENT[state], turn.now, run.reason))
    turn.plan.news.append((turn.dag(run).name, run.run_id, state.word, turn.now - (run.started_at or turn.now)))
    deadlines.on_run_ended(turn, run, state)
    event = "success" if state is RunState.SUCCESS else "failure"
    if event in run.graph.spec.callbacks:
        turn.tell("callback", run.run_id, run, task_id=None, event=event, error=run.reason)
    if state is RunState.FAILED:
        turn.tell("run", run.run_id, run, state=state.word)
    _count_failures(turn, run, state)
    detach(turn, run)
    return True


def _count_failures(turn: Turn, run: RunView, state: RunState) -> None:
    """Pause a DAG whose last runs all failed, as many as it allows. What a backfill meets in the past is no reason."""
    dag = turn.dag(run)
    if run.backfill is not None:
        return
    if state is not RunState.FAILED:
        dag.failed_in_row = dag.failed_in_row if state is RunState.CANCELLED else 0
        return
    dag.failed_in_row += 1
    limit = run.graph.spec.max_consecutive_failed_runs
    if limit and dag.failed_in_row >= limit and not dag.paused:
        dag.paused, dag.failed_in_row = True, 0
        turn.plan.pauses.append((dag.id, f"{limit} runs in a row failed, the last was {run.run_id}"))
        turn.tell("paused", run.run_id, run, failed_runs=limit)


def detach(turn: Turn, run: RunView) -> None:
    """An ended run leaves memory; the next one may look at it once more."""
    dag = turn.dag(run)
    dag.give_place(run)
    at = dag.order.index(run.id) if run.id in dag.order else None
    if run.graph.uses_past:
        past = PastRun(run.id, run.due_at, run.run_id, worst_states(run))
        dag.remember_past(past)
        if at is not None and at + 1 < len(dag.order):
            turn.state.runs[dag.order[at + 1]].previous = past
    if at is not None:
        dag.order.pop(at)
    if not run.deadlines:
        turn.state.runs.pop(run.id, None)
    if at is not None and at < len(dag.order) and run.graph.uses_past:
        later = turn.state.runs.get(dag.order[at])
        if later is not None and later.tasks:
            flow.check_past(turn, later)


def worst_states(run: RunView) -> dict[int, int]:
    """The states that depends_on_past looks at: a mapped task counts as its worst instance."""
    return {
        task.no: int(AttemptState.SUCCESS) if task.count(*FINE) == len(task.states) else int(AttemptState.FAILED)
        for task in run.tasks
    }
