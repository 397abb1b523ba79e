"""A stored run, its memory rebuilt with the engine's own loader, and its task instances as JSON.

What is shown is a pure function of rows: `none`, `scheduled` and `up_for_retry` are derived as the scheduler would.
"""

from __future__ import annotations

import json
import random
from collections import defaultdict
from typing import Any, NamedTuple

from dagd.cli.shapes import error_parts, seconds_between
from dagd.decide import flow
from dagd.decide.rules import Verdict
from dagd.decide.state import READY, RESUMING, RETRYING, WAITING, DagState, RunView, State, TaskState
from dagd.decide.turn import Turn
from dagd.engine import loader
from dagd.model.specs import TaskSpec
from dagd.model.states import AttemptState, Charge, RunState
from dagd.model.times import iso
from dagd.model.triggers import describe
from dagd.store import facts

Row = dict[str, Any]
DERIVED = {WAITING: "none", READY: "scheduled", RETRYING: "up_for_retry", RESUMING: "deferred"}
A = AttemptState


class Stored(NamedTuple):
    """A run with its counters, and its attempt rows by (task_no, map_index), each in the order of tries."""

    view: RunView
    attempts: dict[tuple[int, int], list[Any]]
    gone: dict[int, str]  # tasks with rows that the run's version lacks (it moved to a newer one): number -> id


def load(connection: Any, graphs: loader.Graphs, dag: Any, run: Any) -> Stored:
    """Rebuild a run from its rows, whether it waits, runs or has ended."""
    state = State(dags={dag.id: DagState(dag.id, dag.name, dag.shard, first_seen_at=dag.first_seen_at)})
    view = loader.new_run(connection, graphs, run)
    rows = facts.attempts_of(connection, [run.id])
    expansions = [(task_no, count) for _, task_no, count in facts.expansions_of(connection, [run.id])]
    lengths = [(no, at, key, size) for _, no, at, key, size in facts.lengths_of(connection, [run.id])]
    loader.fill_run(state, view, rows, expansions, lengths)
    if view.state is RunState.RUNNING:
        _look_at_past(connection, graphs, dag, view)
    attempts: dict[tuple[int, int], list[Any]] = defaultdict(list)
    for row in rows:
        attempts[(row.task_no, row.map_index)].append(row)
    numbers = {no for no, _ in attempts if no not in view.graph.by_no}
    names = {no: name for name, no in facts.task_numbers(connection, dag.id).items()} if numbers else {}
    return Stored(view, attempts, {no: names[no] for no in sorted(numbers)})


def _look_at_past(connection: Any, graphs: loader.Graphs, dag: Any, view: RunView) -> None:
    """Which tasks wait for the run before; only a DAG that has such tasks pays for looking."""
    if not view.graph.uses_past:
        return
    state = State()
    known, _ = loader.new_dag(connection, graphs, dag)
    state.dags[dag.id] = known
    loader.load_runs(connection, graphs, state, facts.active_runs(connection, [dag.id]))
    turn = Turn(state, 0, random.Random(0))
    other = state.runs.get(view.id)
    if other is None:
        return
    other.previous = other.previous or known.past_before(other)
    for task in view.tasks:
        task.past_ok = flow.past_blocker(turn, other, other.tasks[task.i]) is None


def task_rows(stored: Stored, *, only: int | None = None, expand: bool = False) -> list[Row]:
    """Every task's instances in the order of the DAG; `only` one task (by index); `expand` lists each map index."""
    found: list[Row] = []
    for i in stored.view.graph.in_order():
        if only is None or only == i:
            found += _rows_of(stored, stored.view.tasks[i], expand=expand)
    return found if only is not None else found + _gone_rows(stored)


def _gone_rows(stored: Stored) -> list[Row]:
    """The instances that a run kept of tasks which its version lacks."""
    found: list[Row] = []
    for (no, index), rows in sorted(stored.attempts.items()):
        if no in stored.gone:
            last = next((one for one in rows if one.try_no == 0), rows[-1])
            row = _base(TaskSpec(stored.gone[no], "removed"), index, A(last.state).word)
            found.append({**row, **what_happened(last), "try": last.try_no})
    return found


def _rows_of(stored: Stored, task: TaskState, *, expand: bool) -> list[Row]:
    if task.size is None or not task.is_mapped or task.is_whole:
        return [instance_row(stored, task, 0, -1)]
    found: list[Row] = []
    rest: dict[str, int] = {}
    for pos in range(task.size):
        if expand or (task.no, pos) in stored.attempts:
            found.append(instance_row(stored, task, pos, pos))
        else:
            word = state_word(stored.view, task, pos)
            rest[word] = rest.get(word, 0) + 1
    return found + [_many(stored, task, word, count) for word, count in rest.items()]


def _many(stored: Stored, task: TaskState, word: str, count: int) -> Row:
    settled = next((row for row in stored.attempts.get((task.no, -1), ()) if row.try_no == 0), None)
    row = _base(task.spec, None, word)
    row["count"] = count
    if settled is not None:
        row["reason"], row["ended_at"] = settled.reason, iso(settled.ended_at)
    return row


def state_word(run: RunView, task: TaskState, pos: int) -> str:
    """An instance's state as people know it."""
    code = task.states[pos]
    if code == WAITING:
        return "scheduled" if run.state is RunState.RUNNING and _may_start(run, task, pos) else "none"
    return DERIVED.get(code) or A(code).word


def _may_start(run: RunView, task: TaskState, pos: int) -> bool:
    if flow.is_blocked(task, pos) or (run.verdict is not None and not task.spec.is_teardown):
        return False
    if task.inner is not None:
        return flow.verdict_at(task, pos) is Verdict.RUN
    if task.is_mapped and task.size is None and task.sources_open:
        return False
    return flow.verdict_of(run, task) is Verdict.RUN


def _base(spec: TaskSpec, index: int | None, word: str) -> Row:
    return {
        "task_id": spec.task_id, "map_index": index, "state": word, "try": 0, "max_tries": spec.retries + 1,
        "isolation": spec.isolation, "pool": spec.pool, "queued_at": None, "started_at": None, "ended_at": None,
        "duration_s": None, "waited_s": None, "reason": None, "error": None, "agent": None, "pid": None,
        "exit_code": None, "signal": None,
    }  # fmt: skip


def instance_row(stored: Stored, task: TaskState, pos: int, index: int) -> Row:
    """One instance: its state, and what its last try (or the row that settled it) says."""
    word = state_word(stored.view, task, pos)
    row = _base(task.spec, index, word)
    rows = stored.attempts.get((task.no, index)) or []
    tries = [one for one in rows if one.try_no > 0]
    row["try"] = max((one.try_no for one in tries if has_started(one)), default=0)
    row["max_tries"] = most_tries(task.spec.retries, tries, word)
    settled = next((one for one in rows if one.try_no == 0), None)
    current = settled or next((one for one in reversed(tries) if one.superseded_by is None), None)
    if settled is None and index >= 0:
        current = current or next((one for one in stored.attempts.get((task.no, -1), ()) if one.try_no == 0), None)
    if current is not None:
        row.update(what_happened(current))
    row["waits_for"] = waits_for(current) if word == "deferred" else None
    row["next_try_at"] = iso(current.next_try_at) if current is not None and word == "up_for_retry" else None
    return row


def waits_for(row: Any) -> Row | None:
    """What a deferred try waits for: {kind, subject, until}; `until` is the timeout of a wait for something else."""
    if row.waits_for is not None:
        trigger = json.loads(row.waits_for)
        return {"kind": trigger["kind"], "subject": describe(trigger), "until": iso(row.resume_at or row.gives_up_at)}
    return {"kind": "time", "subject": describe({"kind": "time", "at": row.resume_at}), "until": iso(row.resume_at)}


def has_started(row: Any) -> bool:
    """Whether a try's body began."""
    return row.started_at is not None or row.state in (A.RUNNING, A.DEFERRED, A.SUCCESS)


def most_tries(retries: int, tries: list[Any], word: str) -> int:
    """Tries so far, the one to come, and what is left of `retries` alone."""
    charged = sum(1 for one in tries if one.superseded_by is None and one.charged == Charge.RETRIES)
    left = max(0, retries - charged)
    if word in {"none", "scheduled"}:
        left += 1
    elif word == "up_for_retry":
        left = max(0, retries - charged) + 1
    return max((one.try_no for one in tries), default=0) + left


def what_happened(row: Any) -> Row:
    """The part of an instance's JSON that comes from one attempt row."""
    said, place = error_parts(row.error)
    return {
        "queued_at": iso(row.queued_at), "started_at": iso(row.started_at), "ended_at": iso(row.ended_at),
        "duration_s": seconds_between(row.started_at, row.ended_at),
        "waited_s": seconds_between(row.queued_at, row.started_at), "reason": row.reason, "error": said,
        "error_at": place, "agent": row.agent, "pid": row.pid, "exit_code": row.exit_code, "signal": row.signal,
        "label": row.label,
    }  # fmt: skip
