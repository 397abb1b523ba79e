"""Memory from rows: what a scheduler that starts, doubts or takes over knows is a pure function of what is stored."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from dagd.decide import flow, mapping
from dagd.decide.deadlines import has_promises
from dagd.decide.graph import Graph
from dagd.decide.results import note_value
from dagd.decide.runs import place_in_order
from dagd.decide.state import RETRYING, DagState, Instance, PastRun, Pool, RunView, State, TaskState
from dagd.engine.backfills import load_backfills
from dagd.engine.timetables import timetable_of
from dagd.model.specs import spec_from_json
from dagd.model.states import AttemptState, Charge, RunState
from dagd.store import facts
from dagd.store.database import Connection, Database, Row

A = AttemptState


class Graphs:
    """Compiled versions, kept over rebuilds: a version never changes."""

    def __init__(self) -> None:
        self._by_version: dict[int, Graph] = {}

    def get(self, connection: Connection, version_id: int) -> Graph:
        """The graph of a version, compiled at first use. Raises KeyError for an unknown version."""
        found = self._by_version.get(version_id)
        if found is None:
            row = facts.version(connection, version_id)
            if row is None:
                raise KeyError(version_id)
            numbers = facts.task_numbers(connection, row.dag_id)
            found = Graph(spec_from_json(row.spec), version_id, row.number, numbers)
            self._by_version[version_id] = found
        return found

    def forget_unused(self, used: set[int]) -> None:
        """Drop versions that no DAG and no run needs any more."""
        for version_id in set(self._by_version) - used:
            del self._by_version[version_id]


def grid_key(graph: Graph) -> tuple[Any, ...]:
    """What a schedule change is a change of: other dates alone leave a cron's or an event list's grid as it is."""
    spec = graph.spec
    schedule = spec.schedule.get("time") or spec.schedule
    anchor = None if schedule["kind"] in {"cron", "events", "continuous"} else spec.start_at
    return (json.dumps(schedule, sort_keys=True), spec.timezone, spec.dst, anchor)


def facts_of(row: Row[Any]) -> tuple[Any, ...]:
    """The facts of a DAG's row that others write; the sweep looks for changes of these."""
    return (row.paused, row.unpaused_at, row.current_version, row.missing_since, row.found_again_at, row.held)


def take_dag_row(connection: Connection, graphs: Graphs, dag: DagState, row: Row[Any]) -> bool:
    """Bring a DAG's memory in line with its row; True when its schedule changed."""
    old = dag.graph
    dag.row = facts_of(row)
    dag.paused, dag.unpaused_at = bool(row.paused), row.unpaused_at
    dag.missing, dag.found_again_at, dag.held = row.missing_since is not None, row.found_again_at, row.held
    if old is not None and old.version == row.current_version:
        return False
    dag.graph = graphs.get(connection, row.current_version)
    dag.timetable = timetable_of(dag.graph.spec, dag.first_seen_at)
    if old is None and dag.scheduled_version not in (None, row.current_version):
        old = graphs.get(connection, dag.scheduled_version)
    changed = old is not None and grid_key(old) != grid_key(dag.graph)
    if changed and old is not None and dag.old_timetable is None:
        dag.old_timetable = timetable_of(old.spec, dag.first_seen_at)
    return changed


def new_dag(connection: Connection, graphs: Graphs, row: Row[Any]) -> tuple[DagState, bool]:
    """A DAG's memory from its row, and whether its schedule changed since it was last scheduled."""
    dag = DagState(row.id, row.name, row.shard, first_seen_at=row.first_seen_at)
    dag.next_due, dag.scheduled_version, dag.last_slot = row.next_due, row.scheduled_version, row.last_slot
    changed = take_dag_row(connection, graphs, dag, row)
    if dag.graph and dag.graph.uses_past:
        _load_past(connection, dag, None)
    limit = dag.graph.spec.max_consecutive_failed_runs if dag.graph else 0
    if limit:
        dag.failed_in_row = facts.failed_in_row(connection, dag.id, limit, dag.unpaused_at or 0)
    return dag, changed


def _load_past(connection: Connection, dag: DagState, before: RunView | None) -> PastRun | None:
    """Take the last ended run into memory, or the last before `before`, for tasks that look at it."""
    bound = None if before is None else (before.due_at, before.id)
    last = facts.last_ended_run(connection, dag.id, bound)
    if last is None:
        return None
    past = PastRun(last.id, last.due_at, last.run_id, facts.worst_states(connection, last.id))
    dag.remember_past(past)
    return past


def load_dags(
    connection: Connection, graphs: Graphs, state: State, shards: Iterable[int], only: int | None = None
) -> list[tuple[int, bool]]:
    """Load the DAGs of `shards` (or `only` one) with their runs; returns (dag id, schedule changed) of each.

    Of a DAG that is set aside nothing but its row: what is wrong with it must not reach another turn.
    """
    changes: list[tuple[int, bool]] = []
    for row in facts.dags_of(connection, shards):
        if row.id not in state.dags and only in (None, row.id):
            dag, changed = new_dag(connection, graphs, row)
            state.dags[dag.id], state.names[dag.name] = dag, dag.id
            if dag.held is None:
                changes.append((dag.id, changed))
    added = [dag_id for dag_id, _ in changes]
    for dag_id, keys in facts.subscriptions(connection, added).items():
        state.dags[dag_id].subscribed = keys
    load_backfills(connection, state, added)
    rows = facts.active_runs(connection, added)
    promised = facts.runs_with_deadlines(connection, [row.id for row in rows if row.state == RunState.QUEUED])
    # A queued run whose deadlines are not set yet is left to the sweep, which finds it as a new one.
    known = [row for row in rows if row.id in promised or not _is_new(connection, graphs, row)]
    load_runs(connection, graphs, state, known)
    for deadline in facts.pending_deadlines(connection, added):
        _load_deadline(connection, graphs, state, deadline)
    return changes


def _is_new(connection: Connection, graphs: Graphs, row: Row[Any]) -> bool:
    return bool(row.state == RunState.QUEUED) and has_promises(graphs.get(connection, row.version_id))


def _load_deadline(connection: Connection, graphs: Graphs, state: State, row: Row[Any]) -> None:
    run = state.runs.get(row.run_id)
    if run is None:
        ended = facts.run_row(connection, row.run_id)
        if ended is None:
            return
        run = new_run(connection, graphs, ended)
        state.runs[run.id] = run
    i = -1 if row.task_no < 0 else run.graph.by_no.get(row.task_no, -1)
    run.deadlines[(i, row.kind)] = row.due_at
    state.set_timer(row.due_at, "deadline", run.id, i, row.kind)


def new_run(connection: Connection, graphs: Graphs, row: Row[Any]) -> RunView:
    """A run's memory from its row, without counters."""
    return RunView(graphs.get(connection, row.version_id), row.dag_id, row._asdict())


def ended_run(connection: Connection, graphs: Graphs, state: State, row: Row[Any]) -> RunView:
    """An ended run with its counters, for a request that changes its rows; it does not enter `state`."""
    run = new_run(connection, graphs, row)
    fill_runs(connection, state, [run])
    return run


def load_runs(connection: Connection, graphs: Graphs, state: State, rows: list[Row[Any]]) -> list[RunView]:
    """Load runs with their attempts into `state`; returns those that are running (to be looked at again)."""
    runs = {row.id: new_run(connection, graphs, row) for row in rows}
    begun = [run for run in runs.values() if run.state is RunState.RUNNING]
    for run in runs.values():
        dag = state.dags[run.dag]
        state.runs[run.id] = run
        place_in_order(state.runs, dag, run)
        if run.state is RunState.QUEUED:
            dag.queued.append((run.rank, run.due_at, run.id))
        else:
            dag.take_place(run)
    for dag_id in {run.dag for run in runs.values()}:
        dag = state.dags[dag_id]
        dag.queued.sort()
        first = state.runs[dag.order[0]]
        if first.graph.uses_past:
            first.previous = _load_past(connection, dag, first)
    if begun:
        fill_runs(connection, state, begun)
    return begun


def fill_runs(connection: Connection, state: State, runs: list[RunView]) -> None:
    """Give running runs their counters from their rows."""
    ids = [run.id for run in runs]
    attempts: dict[int, list[Row[Any]]] = defaultdict(list)
    for row in facts.attempts_of(connection, ids):
        attempts[row.run_id].append(row)
    expansions: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for run_id, task_no, count in facts.expansions_of(connection, ids):
        expansions[run_id].append((task_no, count))
    lengths: dict[int, list[tuple[int, int, str, int | None]]] = defaultdict(list)
    for run_id, task_no, index, key, length in facts.lengths_of(connection, ids):
        lengths[run_id].append((task_no, index, key, length))
    for run in runs:
        fill_run(state, run, attempts[run.id], expansions[run.id], lengths[run.id])
        set_run_timer(state, run)


def set_run_timer(state: State, run: RunView) -> None:
    """Set the timer of a loaded run again."""
    limit = run.graph.spec.dagrun_timeout_us
    if limit is not None and run.started_at is not None:
        state.set_timer(run.started_at + limit, "run_timeout", run.id)


def fill_run(
    state: State, run: RunView, attempts: list[Row[Any]], expansions: list[tuple[int, int]],
    lengths: list[tuple[int, int, str, int | None]],
) -> None:  # fmt: skip
    """Counters of one run from its rows; live tries enter the table of tokens."""
    run.lay_out()
    _take_sizes(run, attempts, expansions)
    for task_no, index, key, length in lengths:
        i = run.graph.by_no.get(task_no)
        if i is None:
            continue
        note_value(run, run.tasks[i], run.tasks[i].pos(index), key, length)
    by_instance: dict[tuple[int, int], list[Row[Any]]] = defaultdict(list)
    for row in attempts:
        by_instance[(row.task_no, row.map_index)].append(row)
    rest: dict[int, Row[Any]] = {}
    for (task_no, index), rows in by_instance.items():
        i = run.graph.by_no.get(task_no)
        if i is None:
            continue
        task = run.tasks[i]
        if index == -1 and task.is_mapped and not task.is_whole:
            rest[i] = next(row for row in rows if row.try_no == 0)
        elif task.size is None or task.pos(index) >= task.size or (task.is_whole and index >= 0):
            _take_replaced(state, run, task, index, rows)
        else:
            _take_instance(state, run, task, task.pos(index), rows)
    for i, row in rest.items():
        task = run.tasks[i]
        covered = [pos for pos in range(task.size or 0) if task.states[pos] == 0 and pos not in task.instances]
        task.rest = (row.reason, frozenset(covered))
        for pos in covered:
            _end(run, task, pos, row.state)


def _take_sizes(run: RunView, attempts: list[Row[Any]], expansions: list[tuple[int, int]]) -> None:
    for task_no, count in expansions:
        i = run.graph.by_no.get(task_no)
        if i is None:
            continue
        scope = run.graph.scopes[i]
        for member in [i] if scope is None else run.graph.members[scope]:
            mapping.set_size(run, run.tasks[member], count)
    for row in attempts:
        i = run.graph.by_no.get(row.task_no)
        if i is not None and row.map_index == -1 and row.try_no == 0:
            task = run.tasks[i]
            if task.is_mapped and task.size is None:
                task.is_whole, task.size = True, 1


def _take_instance(state: State, run: RunView, task: TaskState, pos: int, rows: list[Row[Any]]) -> None:
    settled = next((row for row in rows if row.try_no == 0), None)
    current = [row for row in rows if row.try_no > 0 and row.superseded_by is None]
    replaced = _superseded_tries(state, run, task, rows)
    if settled is not None:
        _end(run, task, pos, settled.state)
        return
    last = current[-1] if current else None
    if last is not None and last.state >= A.SUCCESS and not (last.state == A.FAILED and last.next_try_at is not None):
        _end(run, task, pos, last.state)
        return
    instance = task.instance(pos)
    instance.try_no = max((row.try_no for row in rows), default=0)
    instance.retries_used = sum(1 for row in current if row.charged == Charge.RETRIES)
    instance.infra_used = sum(1 for row in current if row.charged == Charge.INFRA)
    instance.blocked_by = replaced
    if last is None:
        return  # cleared: it waits for its upstreams again
    if last.state == A.FAILED:
        task.states[pos] = RETRYING
        instance.next_try_at = last.next_try_at
        state.set_timer(last.next_try_at, "retry", run.id, task.i, pos, instance.try_no)
    else:
        _take_live(state, run, task, pos, instance, last)


def _superseded_tries(state: State, run: RunView, task: TaskState, rows: list[Row[Any]]) -> str | None:
    """Enter the superseded tries that still live; returns the last one's token."""
    last: str | None = None
    for row in rows:
        if row.superseded_by is not None and row.state < A.SUCCESS:
            last = row.token
            key = (row.run_id, row.task_no, row.map_index)
            state.superseded[row.token] = (key, row.try_no, row.stop_requested or "cleared")
            _take_place(state, run, task)
    return last


def _take_replaced(state: State, run: RunView, task: TaskState, pos: int, rows: list[Row[Any]]) -> None:
    """An index of before a clear, of a map that has not got its new length: numbering goes on where it stopped."""
    instance = task.instance(pos)
    instance.try_no = max(row.try_no for row in rows)
    instance.blocked_by = _superseded_tries(state, run, task, rows)


def _take_live(state: State, run: RunView, task: TaskState, pos: int, instance: Instance, row: Row[Any]) -> None:
    task.states[pos] = row.state
    instance.token, instance.leg = row.token, row.leg
    instance.first_started_at, instance.stop_reason = row.started_at, row.stop_requested
    instance.leg_state, instance.queued_at = row.leg_state, row.queued_at or 0
    state.tokens[row.token] = (run.id, task.i, pos)
    if row.state == A.DEFERRED:
        instance.resume_at, instance.trigger, instance.gives_up_at = row.resume_at, row.waits_for, row.gives_up_at
        if row.resume_at is not None or row.waits_for is None:
            state.set_timer(row.resume_at or 0, "resume", run.id, task.i, pos, row.token)
        if row.gives_up_at is not None:
            state.set_timer(row.gives_up_at, "give_up", run.id, task.i, pos, row.token)
        timeout = task.spec.execution_timeout_us
        if timeout is not None and row.started_at is not None:
            state.set_timer(row.started_at + timeout, "timeout", run.id, task.i, pos, row.token)
    else:
        _take_place(state, run, task)


def _take_place(state: State, run: RunView, task: TaskState) -> None:
    """A live try holds a place until it has ended, a superseded one too."""
    dag = state.dags[run.dag]
    state.outstanding += 1
    run.active += 1
    dag.active_tasks += 1
    dag.task_active[task.no] = dag.task_active.get(task.no, 0) + 1
    pool = state.pools.get(task.spec.pool)
    if pool is None:
        pool = state.pools[task.spec.pool] = Pool(task.spec.pool, 0, 0)
    pool.used += task.spec.pool_slots


def _end(run: RunView, task: TaskState, pos: int, code: int) -> None:
    task.states[pos] = code
    task.remaining -= 1
    if task.remaining == 0:
        run.open_tasks -= 1
    flow.count_end(run, task, pos, code, is_last=task.remaining == 0)


def forget_run(state: State, run: RunView) -> None:
    """Take a run out of memory with every place that its live tries hold (it is loaded again after a clear)."""
    dag = state.dags[run.dag]
    holders = {token: key[1] for token, (key, _, _) in state.superseded.items() if key[0] == run.id}
    for task in run.tasks:
        for pos, instance in task.instances.items():
            if instance.token is not None:
                state.tokens.pop(instance.token, None)
                if task.states[pos] in (A.QUEUED, A.RUNNING):
                    holders[instance.token] = task.no
    for token, task_no in holders.items():
        state.superseded.pop(token, None)
        spec = run.graph.tasks[run.graph.by_no[task_no]]
        state.outstanding -= 1
        dag.active_tasks -= 1
        dag.task_active[task_no] -= 1
        state.pools[spec.pool].used -= spec.pool_slots
    dag.give_place(run)
    dag.queued = sorted(entry for entry in dag.queued if entry[2] != run.id)
    if run.id in dag.order:
        dag.order.remove(run.id)
    state.runs.pop(run.id, None)


def load_run(connection: Connection, graphs: Graphs, state: State, run_id: int) -> list[RunView]:
    """Load one run again after a clear or mark; returns it when it is running."""
    row = facts.run_row(connection, run_id)
    if row is None or row.dag_id not in state.dags or row.state >= A.SUCCESS:
        return []
    begun = load_runs(connection, graphs, state, [row])
    for deadline in facts.pending_deadlines(connection, [row.dag_id]):
        if deadline.run_id == run_id:
            _load_deadline(connection, graphs, state, deadline)
    return begun


def hold(database: Database, dag_id: int, error: str) -> None:
    """Set a DAG aside with its error: nothing of it is scheduled until its file or its row changes."""
    with database.write() as connection:
        facts.hold_dag(connection, dag_id, error[:2000])
