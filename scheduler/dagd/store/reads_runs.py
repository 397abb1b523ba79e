"""What lists and shows read of runs and their tries."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, Row, Select, and_, func, select

from dagd.model.states import AttemptState, RunState
from dagd.store.facts import chunks
from dagd.store.schema import asset, asset_delivery, asset_event, attempt, dag, dag_run, dag_version, task, xcom

AnyRow = Row[Any]
PAGE = 500


def _runs() -> Select[Any]:
    """Runs with the name of their DAG and the number of their version."""
    return (
        select(dag_run, dag.c.name.label("dag_name"), dag_version.c.number.label("version_number"))
        .join(dag, dag.c.id == dag_run.c.dag_id)
        .outerjoin(dag_version, dag_version.c.id == dag_run.c.version_id)
    )


def newest_first(
    connection: Connection, *, dag_id: int | None = None, states: Sequence[int] = (), kinds: Sequence[int] = (),
    since: int | None = None, until: int | None = None, key: str | None = None, backfill: int | None = None,
    limit: int | None = None,
) -> Iterator[AnyRow]:  # fmt: skip
    """Runs, the newest first: those of one DAG in the reverse of its order, those of all DAGs by their creation.

    They are streamed, so that a million of them need no memory; the connection may be asked other things meanwhile.
    """
    conditions = {
        "dag": dag_run.c.dag_id == dag_id if dag_id is not None else None,
        "states": dag_run.c.state.in_(states) if states else None,
        "kinds": dag_run.c.kind.in_(kinds) if kinds else None,
        "since": dag_run.c.due_at >= since if since is not None else None,
        "until": dag_run.c.due_at < until if until is not None else None,
        "key": dag_run.c.request_key == key if key is not None else None,
        "backfill": dag_run.c.backfill_id == backfill if backfill is not None else None,
    }
    statement = _runs().where(*(one for one in conditions.values() if one is not None)).limit(limit)
    if dag_id is not None:
        statement = statement.order_by(dag_run.c.due_at.desc())
    yield from connection.execution_options(yield_per=PAGE).execute(statement.order_by(dag_run.c.id.desc()))


def by_number(connection: Connection, run: int) -> AnyRow | None:
    """A run by its number."""
    return connection.execute(_runs().where(dag_run.c.id == run)).first()


def by_name(connection: Connection, dag_id: int, run_id: str) -> AnyRow | None:
    """A run by its run_id."""
    return connection.execute(_runs().where(dag_run.c.dag_id == dag_id, dag_run.c.run_id == run_id)).first()


def by_prefix(connection: Connection, dag_id: int, prefix: str, limit: int = 4) -> list[AnyRow]:
    """Runs whose run_id begins with a text, the newest first."""
    same = func.substr(dag_run.c.run_id, 1, len(prefix)) == prefix
    statement = _runs().where(dag_run.c.dag_id == dag_id, same).order_by(dag_run.c.due_at.desc(), dag_run.c.id.desc())
    return list(connection.execute(statement.limit(limit)))


def latest(connection: Connection, dag_id: int, *, failed: bool = False) -> AnyRow | None:
    """The run of a DAG that was created last, or the last failed one: what somebody has just asked for."""
    statement = _runs().where(dag_run.c.dag_id == dag_id)
    if failed:
        statement = statement.where(dag_run.c.state == int(RunState.FAILED))
    return connection.execute(statement.order_by(dag_run.c.created_at.desc(), dag_run.c.id.desc()).limit(1)).first()


def recent_names(connection: Connection, dag_id: int, limit: int = 100) -> list[str]:
    """The run_ids of the last runs."""
    statement = select(dag_run.c.run_id).where(dag_run.c.dag_id == dag_id)
    return list(connection.execute(statement.order_by(dag_run.c.due_at.desc()).limit(limit)).scalars())


def state_of(connection: Connection, run: int) -> int | None:
    """A run's state, None when it has been deleted."""
    return connection.execute(select(dag_run.c.state).where(dag_run.c.id == run)).scalar()


def events_by_run(connection: Connection, runs: Sequence[int]) -> dict[int, list[dict[str, Any]]]:
    """The asset events that runs consumed: {event_id, asset, source, partition}, by event id."""
    emitter_run, emitter_dag = dag_run.alias("emitter_run"), dag.alias("emitter_dag")
    found: dict[int, list[dict[str, Any]]] = {}
    for part in chunks(runs):
        rows = connection.execute(
            select(
                asset_delivery.c.run_id.label("consumer"), asset_event.c.id, asset.c.key, asset_event.c.map_index,
                asset_event.c.partition_key, asset_event.c.source_key, emitter_dag.c.name.label("dag_name"),
                emitter_run.c.run_id.label("run_name"), task.c.task_id,
            )
            .join(asset_event, asset_event.c.id == asset_delivery.c.event_id)
            .join(asset, asset.c.id == asset_event.c.asset_id)
            .outerjoin(emitter_run, emitter_run.c.id == asset_event.c.run_id)
            .outerjoin(emitter_dag, emitter_dag.c.id == asset_event.c.dag_id)
            .outerjoin(task, and_(task.c.dag_id == asset_event.c.dag_id, task.c.task_no == asset_event.c.task_no))
            .where(asset_delivery.c.run_id.in_(part))
            .order_by(asset_event.c.id)
        )  # fmt: skip
        for row in rows:
            event = {
                "event_id": row.id, "asset": row.key, "source": source_of(row), "partition": row.partition_key or None,
            }  # fmt: skip
            found.setdefault(row.consumer, []).append(event)
    return found


def source_of(row: Any) -> str:
    """The reference of the instance that emitted an event; for one reported from outside its source key."""
    if row.dag_name is None or row.run_name is None or row.task_id is None:
        return str(row.source_key)
    place = f"{row.dag_name}/{row.run_name}/{row.task_id}"
    return place if row.map_index is None or row.map_index < 0 else f"{place}/{row.map_index}"


def tries_of(connection: Connection, run: int, task_no: int, map_index: int | None) -> list[AnyRow]:
    """Every try of a task's instances (or of one), by index and number; rows that no try made are left out."""
    statement = select(attempt).where(attempt.c.run_id == run, attempt.c.task_no == task_no, attempt.c.try_no > 0)
    if map_index is not None:
        statement = statement.where(attempt.c.map_index == map_index)
    return list(connection.execute(statement.order_by(attempt.c.map_index, attempt.c.try_no)))


def last_try(connection: Connection, run: int, task_no: int, map_index: int) -> AnyRow | None:
    """The try of an instance with the highest number."""
    statement = select(attempt).where(
        attempt.c.run_id == run, attempt.c.task_no == task_no, attempt.c.map_index == map_index, attempt.c.try_no > 0
    )
    return connection.execute(statement.order_by(attempt.c.try_no.desc()).limit(1)).first()


def indices_of(connection: Connection, run: int, task_no: int) -> list[int]:
    """The map indices of a task that have a try."""
    statement = select(attempt.c.map_index).where(
        attempt.c.run_id == run, attempt.c.task_no == task_no, attempt.c.try_no > 0
    )
    return list(connection.execute(statement.distinct().order_by(attempt.c.map_index)).scalars())


def values_of(connection: Connection, run: int, task_no: int, map_index: int) -> list[AnyRow]:
    """The stored values of an instance, by key."""
    statement = select(xcom).where(xcom.c.run_id == run, xcom.c.task_no == task_no, xcom.c.map_index == map_index)
    return list(connection.execute(statement.order_by(xcom.c.key)))


def one_try(connection: Connection, run: int, task_no: int, map_index: int, try_no: int) -> AnyRow | None:
    """One try by its key."""
    return connection.execute(
        select(attempt).where(
            attempt.c.run_id == run, attempt.c.task_no == task_no, attempt.c.map_index == map_index,
            attempt.c.try_no == try_no,
        )
    ).first()  # fmt: skip


def live_places(connection: Connection) -> list[AnyRow]:
    """(dag_id, dag_name, run_name, version_id, task_no, tries) of the tries that hold a place now, by DAG and run."""
    statement = (
        select(
            dag_run.c.dag_id, dag.c.name.label("dag_name"), dag_run.c.run_id.label("run_name"), dag_run.c.version_id,
            attempt.c.task_no, func.count().label("tries"),
        )
        .join(dag_run, dag_run.c.id == attempt.c.run_id)
        .join(dag, dag.c.id == dag_run.c.dag_id)
        .where(attempt.c.state.in_([int(AttemptState.QUEUED), int(AttemptState.RUNNING)]))
        .group_by(dag_run.c.dag_id, dag.c.name, dag_run.c.run_id, dag_run.c.version_id, attempt.c.task_no)
        .order_by(dag.c.name, dag_run.c.run_id, attempt.c.task_no)
    )  # fmt: skip
    return list(connection.execute(statement))
