"""One turn: what came in, what follows from it, as a Plan. The order of inputs is fixed: results, commands, versions,
timers, asset deliveries, then admission; a result that is here beats a cancel of the same turn."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from dagd.decide import (
    admission,
    backfill_commands,
    backfills,
    commands,
    deadlines,
    flow,
    pins,
    publish,
    results,
    runs,
    stops,
)
from dagd.decide.state import RunView, State, Timer
from dagd.decide.turn import Turn
from dagd.model.plans import Plan
from dagd.model.states import Reason, RunState


@dataclass(slots=True)
class Inputs:
    """What a turn is told. `started`: (token, pid, started_at, agent); `results`: agent results; `commands`: request
    rows; `dag_changes`: ids of DAGs whose facts changed and whether their schedule did; `arrivals`: queued runs found
    by the sweep; `deliveries`: (dag id, asset key, event id, ts); `pools`: (name, slots, quota)."""

    started: list[tuple[str, int | None, int, str | None]] = field(default_factory=list)
    results: list[dict[str, Any]] = field(default_factory=list)
    fired: list[dict[str, Any]] = field(default_factory=list)  # triggers: {token, event | error}
    commands: list[commands.Request] = field(default_factory=list)
    dag_changes: list[tuple[int, bool]] = field(default_factory=list)
    arrivals: list[RunView] = field(default_factory=list)
    deliveries: list[tuple[int, str, int, int]] = field(default_factory=list)
    pools: list[tuple[str, int, int]] = field(default_factory=list)
    capacity: int | None = None
    rebuilt: list[RunView] = field(default_factory=list)
    repins: list[int] = field(default_factory=list)  # DAGs whose runs follow their newest version; a turn of their own

    def is_empty(self) -> bool:
        """Whether nothing came in (timers may still be due)."""
        return self.capacity is None and not any(getattr(self, name) for name in self.__slots__ if name != "capacity")


def decide(state: State, inputs: Inputs, now: int, seed: int) -> Plan:
    """Draw every conclusion that `inputs` and the clock allow, apply them to `state`, and return what is to be written.

    Deterministic: the same state, inputs, `now` (microseconds) and `seed` give the same plan.
    """
    turn = Turn(state, now, random.Random(seed))
    _take_facts(turn, inputs)
    for run in inputs.arrivals:  # before the commands: one of them may be about it
        if run.id not in state.runs:
            runs.enlist(turn, state.dags[run.dag], run)
            deadlines.set_with_run(turn, run)
    for token, pid, started_at, agent in inputs.started:
        results.report_started(turn, token, pid, started_at, agent)
    for result in inputs.results:
        results.report_result(turn, result)
    for fired in inputs.fired:
        results.trigger_fired(turn, fired)
    for request in inputs.commands:
        verbs = backfill_commands if request.kind.startswith("backfill_") else commands
        verbs.apply(turn, request)
    for dag_id in inputs.repins:
        pins.repin(turn, state.dags[dag_id])
    if turn.plan.reloads or inputs.repins:
        backfills.record(turn)
        return turn.plan
    looked_at = _take_changes(turn, inputs)
    for timer in state.due_timers(now):
        _fire(turn, timer, looked_at)
    for dag_id, asset, event, ts in inputs.deliveries:
        dag = state.dags.get(dag_id)
        if dag is not None:
            dag.open_events.setdefault(asset, {})[event] = ts
            looked_at.add(dag_id)
    _settle_runs(turn, looked_at)
    admission.admit(turn)
    publish.publish_engine_successes(turn)
    backfills.record(turn)
    state.awake_at = now
    return turn.plan


def _take_facts(turn: Turn, inputs: Inputs) -> None:
    if inputs.capacity is not None:
        turn.state.capacity = inputs.capacity
    for name, slots, quota in inputs.pools:
        admission.resize_pool(turn, name, slots, quota)
    for run in inputs.rebuilt:
        turn.touched_runs[run.id] = run
        flow.look_again(turn, run)
        flow.look_at_next_run(turn, run)


def _take_changes(turn: Turn, inputs: Inputs) -> set[int]:
    looked_at: set[int] = set()
    for dag_id, changed in inputs.dag_changes:
        dag = turn.state.dags[dag_id]
        runs.refresh_due(turn, dag, changed=changed)
        runs.subscribe(turn, dag)
        admission.wake(turn, dag, 0)
        looked_at.add(dag_id)
    looked_at.update(run.dag for run in inputs.arrivals)
    return looked_at


def _fire(turn: Turn, timer: Timer, looked_at: set[int]) -> None:
    key = timer.key
    if timer.kind == "slot":
        looked_at.add(key[0])
        return
    run = turn.state.runs.get(key[0])
    if run is None:
        return
    if timer.kind == "deadline":
        if run.deadlines.get((key[1], key[2]), turn.now) <= turn.now:
            deadlines.fire(turn, run, key[1], key[2])
        if not run.deadlines and not run.state.is_active:
            turn.state.runs.pop(run.id, None)
    elif timer.kind == "run_timeout":
        if run.state is RunState.RUNNING and run.verdict is None and runs.is_out_of_time(turn, run):
            stops.stop_run(turn, run, RunState.FAILED, Reason.DAGRUN_TIMEOUT, "skip")
    elif run.tasks:
        task = run.tasks[key[1]]
        if timer.kind == "retry":
            flow.retry_due(turn, run, task, key[2])
        elif timer.kind == "resume":
            results.resume_due(turn, run, task, key[2], key[3])
        elif timer.kind == "give_up":
            results.give_up_due(turn, run, task, key[2], key[3])
        elif timer.kind == "timeout":
            results.timeout_due(turn, run, task, key[2], key[3])


def _settle_runs(turn: Turn, looked_at: set[int]) -> None:
    """End runs, start others, and look again until no run ends any more (an empty run ends as it starts)."""
    flow.spread(turn)
    while turn.touched_runs or looked_at:
        stops.fail_fast(turn)
        touched, turn.touched_runs = turn.touched_runs, {}
        for run in touched.values():
            if runs.end_run_if_over(turn, run):
                backfills.note_end(turn, run)
                looked_at.add(run.dag)
        flow.spread(turn)
        dags, looked_at = sorted(looked_at), set()
        for dag_id in dags:
            dag = turn.state.dags.get(dag_id)
            if dag is not None:
                runs.create_due(turn, dag, dag.timetable)
                runs.trigger_by_assets(turn, dag)
                runs.start_queued(turn, dag)
                backfills.fill(turn, dag)
