"""What the engine reads: the rows from which memory is rebuilt, and what the sweeps look for, always by row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, Row, and_, case, func, or_, select, update

from dagd.model.states import ACTIVE_BELOW, AttemptState, CommandState, DeadlineState, RunState
from dagd.store.schema import (
    asset,
    asset_delivery,
    asset_event,
    asset_sub,
    attempt,
    command,
    dag,
    dag_run,
    dag_version,
    deadline,
    map_expansion,
    pool,
    source,
    task,
    xcom,
)

CHUNK = 500
QUEUED = int(RunState.QUEUED)


def chunks(ids: Sequence[int]) -> Iterable[Sequence[int]]:
    """Ids in pieces that a statement can carry."""
    for start in range(0, len(ids), CHUNK):
        yield ids[start : start + CHUNK]


def dags_of(connection: Connection, shards: Iterable[int]) -> list[Row[Any]]:
    """Every DAG of `shards` that has a version, by id."""
    return list(
        connection.execute(
            select(dag).where(dag.c.shard.in_(list(shards)), dag.c.current_version.is_not(None)).order_by(dag.c.id)
        )
    )


def dags_mark(connection: Connection, shards: Iterable[int]) -> tuple[Any, ...]:
    """One row that differs when a row of `dags_of` does in what others write, at a fiftieth of the price of all."""
    marked = [func.sum(case((one, dag.c.id))) for one in (dag.c.paused, dag.c.held.is_not(None))]
    latest = [func.max(one) for one in (dag.c.unpaused_at, dag.c.missing_since, dag.c.found_again_at)]
    counts = func.count(), func.count(dag.c.missing_since), func.sum(dag.c.current_version)
    statement = select(*counts, *marked, *latest).where(dag.c.shard.in_(list(shards)))
    return tuple(connection.execute(statement).one())


def version(connection: Connection, version_id: int) -> Row[Any] | None:
    """One version: id, dag_id, number, spec text, sources text."""
    return connection.execute(select(dag_version).where(dag_version.c.id == version_id)).first()


def loadables(connection: Connection, version_ids: Sequence[int]) -> dict[int, Row[Any]]:
    """What a process needs to load versions, by version: id, sources text, created_at."""
    columns = (dag_version.c.id, dag_version.c.sources, dag_version.c.created_at)
    found: dict[int, Row[Any]] = {}
    for part in chunks(version_ids):
        found |= {row.id: row for row in connection.execute(select(*columns).where(dag_version.c.id.in_(part)))}
    return found


def task_numbers(connection: Connection, dag_id: int) -> dict[str, int]:
    """task_id -> task_no of a DAG."""
    rows = connection.execute(select(task.c.task_id, task.c.task_no).where(task.c.dag_id == dag_id))
    return dict(rows.all())


def source_bodies(connection: Connection, hashes: Iterable[str]) -> dict[str, str]:
    """Source texts by their hash."""
    rows = connection.execute(select(source.c.hash, source.c.body).where(source.c.hash.in_(list(hashes))))
    return dict(rows.all())


def active_runs(connection: Connection, dag_ids: Sequence[int]) -> list[Row[Any]]:
    """Queued and running runs of the DAGs, by due instant and id."""
    found: list[Row[Any]] = []
    for part in chunks(dag_ids):
        found += connection.execute(select(dag_run).where(dag_run.c.dag_id.in_(part), dag_run.c.state < ACTIVE_BELOW))
    return sorted(found, key=lambda row: (row.due_at, row.id))


def queued_runs(connection: Connection, shards: Iterable[int]) -> list[Row[Any]]:
    """Queued runs of the shards: the sweep finds those that others inserted."""
    return list(
        connection.execute(
            select(dag_run)
            .join(dag, dag.c.id == dag_run.c.dag_id)
            .where(dag_run.c.state < ACTIVE_BELOW, dag_run.c.state == QUEUED, dag.c.shard.in_(list(shards)))
            .order_by(dag_run.c.id)
        )
    )


def run_row(connection: Connection, run_id: int) -> Row[Any] | None:
    """One run by its id."""
    return connection.execute(select(dag_run).where(dag_run.c.id == run_id)).first()


def attempts_of(connection: Connection, run_ids: Sequence[int]) -> list[Row[Any]]:
    """Every attempt row of the runs, in key order."""
    found: list[Row[Any]] = []
    for part in chunks(run_ids):
        found += connection.execute(
            select(attempt)
            .where(attempt.c.run_id.in_(part))
            .order_by(attempt.c.run_id, attempt.c.task_no, attempt.c.map_index, attempt.c.try_no)
        )
    return found


def expansions_of(connection: Connection, run_ids: Sequence[int]) -> list[tuple[int, int, int]]:
    """(run, task_no, count) of the mapped tasks that know their length."""
    found: list[tuple[int, int, int]] = []
    for part in chunks(run_ids):
        rows = connection.execute(select(map_expansion).where(map_expansion.c.run_id.in_(part)))
        found += [(run_id, task_no, count) for run_id, task_no, count in rows]
    return found


def lengths_of(connection: Connection, run_ids: Sequence[int]) -> list[tuple[int, int, int, str, int | None]]:
    """(run, task_no, map_index, key, length) of stored values: lengths only, never the values."""
    found: list[tuple[int, int, int, str, int | None]] = []
    for part in chunks(run_ids):
        rows = connection.execute(
            select(xcom.c.run_id, xcom.c.task_no, xcom.c.map_index, xcom.c.key, xcom.c.length).where(
                xcom.c.run_id.in_(part)
            )
        )
        found += [tuple(row) for row in rows]
    return found


def pending_deadlines(connection: Connection, dag_ids: Sequence[int]) -> list[Row[Any]]:
    """Deadlines that may still pass."""
    found: list[Row[Any]] = []
    for part in chunks(dag_ids):
        found += connection.execute(
            select(deadline).where(deadline.c.dag_id.in_(part), deadline.c.state == int(DeadlineState.PENDING))
        )
    return found


def runs_with_deadlines(connection: Connection, run_ids: Sequence[int]) -> set[int]:
    """Which of these runs have deadlines, in any state."""
    found: set[int] = set()
    for part in chunks(run_ids):
        found.update(connection.execute(select(deadline.c.run_id).where(deadline.c.run_id.in_(part))).scalars())
    return found


def subscriptions(connection: Connection, dag_ids: Sequence[int]) -> dict[int, tuple[str, ...]]:
    """The asset keys that each DAG listens to, sorted."""
    found: dict[int, list[str]] = {}
    for part in chunks(dag_ids):
        rows = connection.execute(
            select(asset_sub.c.dag_id, asset.c.key)
            .join(asset, asset.c.id == asset_sub.c.asset_id)
            .where(asset_sub.c.dag_id.in_(part))
        )
        for dag_id, key in rows:
            found.setdefault(dag_id, []).append(key)
    return {dag_id: tuple(sorted(keys)) for dag_id, keys in found.items()}


def open_deliveries(connection: Connection, shards: Iterable[int]) -> list[tuple[int, str, int, int]]:
    """(consumer dag, asset key, event id, ts) of deliveries that no run has consumed, by event id."""
    rows = connection.execute(
        select(asset_delivery.c.dag_id, asset.c.key, asset_event.c.id, asset_event.c.ts)
        .join(asset_event, asset_event.c.id == asset_delivery.c.event_id)
        .join(asset, asset.c.id == asset_event.c.asset_id)
        .where(
            asset_delivery.c.run_id.is_(None), asset_delivery.c.dropped_at.is_(None),
            asset_delivery.c.shard.in_(list(shards)),
        )
        .order_by(asset_event.c.id)
    )  # fmt: skip
    return [tuple(row) for row in rows]


def events_of(connection: Connection, run_id: int) -> list[dict[str, Any]]:
    """The asset events that a run consumed, with the instance that emitted each."""
    emitter_run, emitter_dag = dag_run.alias(), dag.alias()
    rows = connection.execute(
        select(
            asset_event.c.id, asset.c.key, emitter_dag.c.name, emitter_run.c.run_id, task.c.task_id,
            asset_event.c.map_index, asset_event.c.partition_key, asset_event.c.source_key,
        )
        .join(asset_delivery, asset_delivery.c.event_id == asset_event.c.id)
        .join(asset, asset.c.id == asset_event.c.asset_id)
        .outerjoin(emitter_run, emitter_run.c.id == asset_event.c.run_id)
        .outerjoin(emitter_dag, emitter_dag.c.id == asset_event.c.dag_id)
        .outerjoin(task, and_(task.c.dag_id == asset_event.c.dag_id, task.c.task_no == asset_event.c.task_no))
        .where(asset_delivery.c.run_id == run_id)
        .order_by(asset_event.c.id)
    )  # fmt: skip
    return [
        {"event_id": event, "asset": key, "partition": partition, "source": _source(name, run, task_id, index, by)}
        for event, key, name, run, task_id, index, partition, by in rows
    ]


def _source(dag_name: str | None, run: str | None, task_id: str | None, index: int | None, key: str) -> str:
    if dag_name is None or run is None or task_id is None:
        return key
    place = f"{dag_name}/{run}/{task_id}"
    return place if index is None or index < 0 else f"{place}/{index}"


def new_commands(connection: Connection, shards: Iterable[int]) -> list[Row[Any]]:
    """Requests that wait for a decision of the owner of `shards`, by id."""
    return list(
        connection.execute(
            select(command)
            .join(dag, dag.c.id == command.c.dag_id)
            .where(command.c.state == int(CommandState.NEW), dag.c.shard.in_(list(shards)))
            .order_by(command.c.id)
        )
    )


def pools(connection: Connection) -> list[tuple[int, str, int]]:
    """(id, name, slots) of every pool."""
    return [(row.id, row.name, row.slots) for row in connection.execute(select(pool).order_by(pool.c.id))]


def last_ended_run(connection: Connection, dag_id: int, before: tuple[int, int] | None = None) -> Row[Any] | None:
    """The last ended run in the DAG's order (before one of that due instant and id), for depends_on_past."""
    statement = select(dag_run).where(dag_run.c.dag_id == dag_id, dag_run.c.state >= ACTIVE_BELOW)
    if before is not None:
        due_at, run_id = before
        earlier = or_(dag_run.c.due_at < due_at, and_(dag_run.c.due_at == due_at, dag_run.c.id < run_id))
        statement = statement.where(earlier)
    return connection.execute(statement.order_by(dag_run.c.due_at.desc(), dag_run.c.id.desc()).limit(1)).first()


def worst_states(connection: Connection, run_id: int) -> dict[int, int]:
    """task_no -> success when every instance of the task ended success or skipped, else failed."""
    rows = attempts_of(connection, [run_id])
    latest: dict[tuple[int, int], int] = {}
    settled: set[tuple[int, int]] = set()
    for row in rows:
        key = (row.task_no, row.map_index)
        if row.try_no == 0:
            settled.add(key)
            latest[key] = row.state
        elif row.superseded_by is None and key not in settled:
            latest[key] = row.state
    fine = {int(AttemptState.SUCCESS), int(AttemptState.SKIPPED)}
    worst: dict[int, int] = {}
    for (task_no, _), state in latest.items():
        bad = state not in fine or worst.get(task_no) == int(AttemptState.FAILED)
        worst[task_no] = int(AttemptState.FAILED) if bad else int(AttemptState.SUCCESS)
    return worst


def xcom_values(
    connection: Connection, run_id: int, task_no: int, key: str, index: int | None = None
) -> list[Row[Any]]:
    """(map_index, body, file, length) of a task's values under `key`, by map_index; of one index alone when given."""
    statement = (
        select(xcom.c.map_index, xcom.c.body, xcom.c.file, xcom.c.length)
        .where(xcom.c.run_id == run_id, xcom.c.task_no == task_no, xcom.c.key == key)
        .order_by(xcom.c.map_index)
    )
    return list(connection.execute(statement if index is None else statement.where(xcom.c.map_index == index)))


def last_run_with_value(connection: Connection, dag_id: int, run_id: int, task_no: int, key: str) -> int | None:
    """The last run of a DAG before `run_id`, by due instant, in which the task left a value under `key`."""
    due = select(dag_run.c.due_at).where(dag_run.c.id == run_id).scalar_subquery()
    earlier = or_(dag_run.c.due_at < due, and_(dag_run.c.due_at == due, dag_run.c.id < run_id))
    statement = (
        select(dag_run.c.id)
        .join(xcom, and_(xcom.c.run_id == dag_run.c.id, xcom.c.task_no == task_no, xcom.c.key == key))
        .where(dag_run.c.dag_id == dag_id, earlier)
        .order_by(dag_run.c.due_at.desc(), dag_run.c.id.desc())
        .limit(1)
    )
    return connection.execute(statement).scalar()


def failed_in_row(connection: Connection, dag_id: int, most: int, since: int) -> int:
    """How many of the DAG's last `most` ended runs failed, counted back from the last; cancelled ones do not count."""
    statement = (
        select(dag_run.c.state)
        .where(dag_run.c.dag_id == dag_id, dag_run.c.state >= ACTIVE_BELOW, dag_run.c.ended_at > since)
        .where(dag_run.c.state != int(RunState.CANCELLED), dag_run.c.backfill_id.is_(None))
        .order_by(dag_run.c.ended_at.desc(), dag_run.c.id.desc())
        .limit(most)
    )
    states = list(connection.execute(statement).scalars())
    return next((at for at, state in enumerate(states) if state != int(RunState.FAILED)), len(states))


def live_tokens(connection: Connection, tokens: Sequence[str]) -> set[str]:
    """Those of `tokens` whose try has not ended."""
    statement = select(attempt.c.token).where(attempt.c.token.in_(tokens), attempt.c.state < ACTIVE_BELOW)
    return {str(token) for token in connection.execute(statement).scalars()}


def hold_dag(connection: Connection, dag_id: int, error: str) -> None:
    """Set a DAG aside with its error."""
    connection.execute(update(dag).where(dag.c.id == dag_id).values(held=error))
