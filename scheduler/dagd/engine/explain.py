"""`dagd why`: the memory that a scheduler would have, loaded from the rows, and what the core says of it."""

from __future__ import annotations

import json
import random
from typing import Any

from dagd.decide import flow
from dagd.decide.cases import Answer, Case, Ended
from dagd.decide.explain import why_dag, why_instance, why_run
from dagd.decide.state import Pool, RunView, State, TaskState
from dagd.decide.turn import Turn
from dagd.engine import loader
from dagd.engine.backfills import load_backfills
from dagd.engine.loader import Graphs
from dagd.model.errors import NotFound, did_you_mean
from dagd.model.states import Reason, RunState
from dagd.store import dialects, facts, reads, reads_runs
from dagd.store.database import Connection, Row

LEASE_US = 10_000_000


def why(connection: Connection, graphs: Graphs, reference: str, workers: int | None = None) -> dict[str, Any]:
    """The JSON of `dagd why` for DAG, DAG/RUN, DAG/RUN/TASK or DAG/RUN/TASK/MAP; `workers` are the agent's slots.

    Raises NotFound.
    """
    parts: list[str | None] = [*reference.split("/")]
    dag_name, run_name, task_id, index = parts + [None] * (4 - len(parts))
    case, row = load_case(connection, graphs, str(dag_name))
    case.workers = workers
    if run_name is None:
        return shown(reference, why_dag(case))
    stored = reads_runs.by_name(connection, row.id, run_name)
    if stored is None:
        raise NotFound(f"DAG {dag_name!r} has no run {run_name!r}")
    take_run(connection, graphs, case, stored)
    if task_id is None:
        return shown(reference, why_run(case))
    return shown(reference, _task_answer(case, task_id, None if index is None else int(index)))


def shown(reference: str, answer: Answer) -> dict[str, Any]:
    """An answer as JSON."""
    reasons = [{"code": one.code, "message": one.message, "blocking": one.blocking} for one in answer.reasons]
    return {"subject": reference, "state": answer.state, "reasons": reasons, "next": answer.next}


def load_case(connection: Connection, graphs: Graphs, dag_name: str) -> tuple[Case, Row[Any]]:
    """A DAG with its unended runs, and every pool with what all DAGs use of it. Raises NotFound."""
    row = reads.dag_row(connection, dag_name)
    if row is None or row.current_version is None:
        raise NotFound(f"there is no DAG {dag_name!r}", remedy=did_you_mean(dag_name, reads.dag_names(connection)))
    now = dialects.clock(connection)
    state = State()
    dag, _ = loader.new_dag(connection, graphs, row)
    state.dags[dag.id], state.names[dag.name] = dag, dag.id
    pools = facts.pools(connection)
    for _, name, slots in pools:
        state.pools[name] = Pool(name, slots, slots)
    load_backfills(connection, state, [dag.id])
    begun = loader.load_runs(connection, graphs, state, facts.active_runs(connection, [dag.id]))
    for dag_id, asset, event, ts in facts.open_deliveries(connection, [dag.shard]):
        if dag_id == dag.id:
            dag.open_events.setdefault(asset, {})[event] = ts
    turn = Turn(state, now, random.Random(0))
    for run in begun:
        flow.look_again(turn, run)
    errors = {one.file: one for one in reads.import_errors(connection)}
    found = errors.get(row.file)
    case = Case(
        turn, dag, missing_pools=set(state.pools) - {name for _, name, _ in pools},
        has_scheduler=any(now - one.heartbeat < LEASE_US for one in reads.schedulers(connection)),
        file_error=found.error.partition("\n")[0] if found is not None else None,
    )  # fmt: skip
    _take_places(connection, graphs, case)
    return case, row


def _take_places(connection: Connection, graphs: Graphs, case: Case) -> None:
    """Who holds slots of the pools: the live tries of every DAG."""
    for place in reads_runs.live_places(connection):
        case.busy += place.tries
        graph = graphs.get(connection, place.version_id)
        i = graph.by_no.get(place.task_no)
        if i is None:
            continue
        spec = graph.tasks[i]
        pool = case.state.pools.get(spec.pool)
        if pool is None:
            continue
        if place.dag_id != case.dag.id:
            pool.used += spec.pool_slots * place.tries
        told = f"{place.dag_name}/{place.run_name}/{spec.task_id}"
        case.pool_users.setdefault(spec.pool, []).append(f"{told} ×{place.tries}" if place.tries > 1 else told)


def take_run(connection: Connection, graphs: Graphs, case: Case, stored: Row[Any]) -> None:
    """Bring the run that is asked about, and what its rows say, into the case."""
    run = case.state.runs.get(stored.id)
    if run is None or (run.state is not RunState.QUEUED and not run.tasks):
        run = loader.ended_run(connection, graphs, case.state, stored)
    if not run.tasks:
        run.tasks = [TaskState(run.graph, i) for i in range(len(run.graph.tasks))]
    case.run = run
    by_instance: dict[tuple[int, int], list[Row[Any]]] = {}
    for row in facts.attempts_of(connection, [run.id]):
        i = run.graph.by_no.get(row.task_no)
        if i is not None:
            by_instance.setdefault((i, run.tasks[i].pos(row.map_index)), []).append(row)
    for (i, pos), rows in by_instance.items():
        if pos < len(run.tasks[i].states) and not _speaks_for_others(run, i, rows):
            case.ends[(i, pos)] = _end_of(rows)


def reason_of(case: Case, task_id: str, index: int | None) -> str:
    """The nearest reason of an instance's state, or of the first that has not ended, in the words of `dagd why`."""
    run = case.run
    i = run.graph.index.get(task_id) if run is not None else None
    if run is not None and i is not None and index is None:  # the indices that have not begun
        task = run.tasks[i]
        index = next((pos for pos in range(task.size or 0) if task.is_open(pos) and pos not in task.instances), None)
        index = index if task.is_mapped else None
    answer = _task_answer(case, task_id, index)
    return answer.reasons[0].message if answer.reasons else ""


def _speaks_for_others(run: RunView, i: int, rows: list[Row[Any]]) -> bool:
    task = run.tasks[i]
    return task.is_mapped and not task.is_whole and all(row.map_index == -1 for row in rows)


def _end_of(rows: list[Row[Any]]) -> Ended:
    tries = [row for row in rows if row.try_no > 0 and row.superseded_by is None]
    settled = next((row for row in rows if row.try_no == 0), None)
    last = settled or (tries[-1] if tries else rows[-1])
    said, place = _error_of(last.error)
    is_marked = settled is not None and settled.reason == Reason.MARKED
    return Ended(len(tries), last.reason, said, place, is_marked)


def _error_of(text: str | None) -> tuple[str | None, str | None]:
    """A stored error's sentence and its place."""
    if not text:
        return None, None
    found = json.loads(text)
    if not isinstance(found, dict):
        return str(found), None
    said = ": ".join(part for part in (found.get("type"), str(found.get("message") or "")) if part)
    place = f"{found['file']}:{found['line']}" if found.get("file") and found.get("line") else found.get("file")
    return said or None, place


def _task_answer(case: Case, task_id: str, index: int | None) -> Answer:
    run = case.run
    assert run is not None
    i = run.graph.index.get(task_id)
    if i is None:
        known = did_you_mean(task_id, run.graph.index)
        raise NotFound(f"run {run.run_id!r} has no task {task_id!r}", remedy=known)
    task = run.tasks[i]
    if index is None or index < 0:
        pos = next((at for at in range(len(task.states)) if task.is_open(at)), None)
        if pos is None:
            worst = [at for at, code in enumerate(task.states) if code not in (10, 12)]
            pos = worst[0] if worst else 0
    else:
        pos = index
    if pos >= len(task.states) or (index is not None and index >= 0 and (not task.is_mapped or task.size is None)):
        raise NotFound(f"{task_id!r} of run {run.run_id!r} has no instance {index}")
    return why_instance(case, task, pos)
