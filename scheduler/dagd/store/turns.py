"""Writing one turn's plan: fence first, then the plan, all in the caller's transaction."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, and_, bindparam, delete, insert, or_, select, text, update

from dagd.model.errors import Doubt, Fenced
from dagd.model.plans import EVERY_INDEX, EVERY_TASK, AssetEventRow, InstanceKey, NextDue, Plan, Supersede
from dagd.store import backfills, dialects, transitions
from dagd.store.schema import (
    asset,
    asset_delivery,
    asset_event,
    asset_sub,
    attempt,
    audit,
    dag,
    dag_run,
    map_expansion,
    outbox,
    scheduler,
    xcom,
)

FENCE = {
    name: update(scheduler)
    .where(scheduler.c.id == bindparam("me"), scheduler.c.alive.is_(True))
    .values(heartbeat=text(clock), lag_us=bindparam("lag"))
    .returning(scheduler.c.heartbeat)
    for name, clock in dialects.CLOCK.items()
}

_MOVED: dict[str, Any] = {
    "next_due": bindparam("due"),
    "scheduled_version": bindparam("version"),
    "last_slot": bindparam("last"),
}
MOVE = dialects.Batch(update(dag).where(dag.c.id == bindparam("dag_id")).values(**_MOVED))
MOVE_GUARDED = dialects.Batch(
    update(dag)
    .where(dag.c.id == bindparam("dag_id"), dag.c.paused.is_(False), dag.c.next_due == bindparam("expected"))
    .values(**_MOVED)
)


def fence(connection: Connection, incarnation: int, lag_us: int = 0) -> int:
    """First statement of every transaction of the engine: still alive? Returns now by the database's clock.

    Raises Fenced when this incarnation was declared dead: another may own its shards by now.
    """
    row = connection.execute(FENCE[connection.dialect.name], {"me": incarnation, "lag": lag_us}).first()
    if row is None:
        raise Fenced(f"scheduler incarnation {incarnation} was declared dead", remedy="It takes a new one by itself.")
    return int(row[0])


def _expect(moved: int, wanted: int, what: str) -> None:
    if moved != wanted:
        raise Doubt(f"{what}: {moved} of {wanted} rows moved", remedy="Memory is rebuilt from the database.")


def write_plan(connection: Connection, plan: Plan, now: int) -> None:
    """Write all of a plan. Raises Doubt when a row is not as memory thought."""
    _write_runs(connection, plan)
    for supersede in plan.supersedes:
        _supersede(connection, supersede)
    if plan.starts:
        transitions.start(connection, plan.starts)
    if plan.deferrals:  # before the ends: what defers may be stopped in the same turn
        _expect(transitions.defer(connection, plan.deferrals), len(plan.deferrals), "deferrals")
    if plan.firings:
        _expect(transitions.fire(connection, plan.firings), len(plan.firings), "firings")
    if plan.ends:
        _expect(transitions.end(connection, plan.ends), len(plan.ends), "ends")
    if plan.settles:
        transitions.settle(connection, plan.settles)
    if plan.enqueues:
        transitions.enqueue(connection, plan.enqueues)
    if plan.resumes:
        _expect(transitions.resume(connection, plan.resumes), len(plan.resumes), "resumes")
    if plan.instant_ends:
        _expect(transitions.end(connection, plan.instant_ends), len(plan.instant_ends), "engine tasks")
    _write_values(connection, plan)
    _write_assets(connection, plan, now)
    _move_runs(connection, plan, now)
    _write_requests(connection, plan, now)


def _write_runs(connection: Connection, plan: Plan) -> None:
    for guarded, steps in groupby(plan.next_dues, key=lambda due: due.guarded):  # in their order
        _move_dues(connection, MOVE_GUARDED if guarded else MOVE, list(steps))
    if plan.new_runs:
        transitions.insert_runs(connection, plan.new_runs)


def _move_dues(connection: Connection, statement: dialects.Batch, steps: list[NextDue]) -> None:
    """Advance the clocks of DAGs; an acknowledged pause is never overtaken."""
    params = [
        {
            "dag_id": due.dag, "expected": due.expected, "due": due.next_due, "version": due.version,
            "last": due.last_slot,
        }
        for due in steps
    ]  # fmt: skip
    _expect(statement.run(connection, params), len(steps), f"slots of DAGs {[due.dag for due in steps[:10]]}")


def _supersede(connection: Connection, row: Supersede) -> None:
    """Rows of an instance (of every index, of every task) give way; values that they left are gone."""
    tries, values, sizes = (_rows_of(table, row.key) for table in (attempt, xcom, map_expansion))
    if row.settled_as is not None:
        connection.execute(delete(attempt).where(*tries, attempt.c.try_no == 0, attempt.c.reason == row.settled_as))
        return
    connection.execute(delete(attempt).where(*tries, attempt.c.try_no == 0))
    connection.execute(update(attempt).where(*tries, attempt.c.superseded_by.is_(None)).values(superseded_by=row.by))
    if row.drop_values:
        connection.execute(delete(xcom).where(*values))
    if row.drop_expansion:
        connection.execute(delete(map_expansion).where(*sizes))


def _rows_of(table: Table, key: InstanceKey) -> list[ColumnElement[bool]]:
    run, task_no, index = key
    found = [table.c.run_id == run]
    if task_no != EVERY_TASK:
        found.append(table.c.task_no == task_no)
    if index != EVERY_INDEX and "map_index" in table.c:
        found.append(table.c.map_index == index)
    return found


XCOM = insert(xcom)


def _write_values(connection: Connection, plan: Plan) -> None:
    if plan.xcoms:
        connection.execute(
            XCOM,
            [
                {
                    "run_id": row.key[0], "task_no": row.key[1], "map_index": row.key[2], "key": row.name,
                    "body": row.text, "file": row.file, "length": row.length, "size": row.size,
                }
                for row in plan.xcoms
            ],
        )  # fmt: skip
    if plan.expansions:
        connection.execute(
            insert(map_expansion),
            [{"run_id": row.run, "task_no": row.task_no, "count": row.count} for row in plan.expansions],
        )
    for stop in plan.stops:
        connection.execute(
            update(attempt)
            .where(
                attempt.c.run_id == stop.key[0], attempt.c.task_no == stop.key[1],
                attempt.c.map_index == stop.key[2], attempt.c.try_no == stop.try_no,
            )
            .values(stop_requested=stop.reason)
        )  # fmt: skip


def _write_assets(connection: Connection, plan: Plan, now: int) -> None:
    if plan.subscriptions or plan.asset_events:
        ids = _lock_assets(connection, plan)
        for dag_id, keys in plan.subscriptions:
            _subscribe(connection, dag_id, {ids[key] for key in keys}, now)
        _publish(connection, plan.asset_events, ids)
    _refuse_paused(connection, {dag_id for dag_id, _, _ in plan.consumed})
    for dag_id, run_id, events in plan.consumed:
        _close_deliveries(connection, dag_id, events, f"asset events of run {run_id}", run_id=run_id)
    for dag_id, events in plan.dropped:
        _close_deliveries(connection, dag_id, events, f"dropped asset events of DAG {dag_id}", dropped_at=now)


def _close_deliveries(connection: Connection, dag_id: int, events: tuple[int, ...], what: str, **values: int) -> None:
    """Deliveries that are open become consumed or dropped, all of them or it is a doubt."""
    statement = (
        update(asset_delivery)
        .where(
            asset_delivery.c.dag_id == dag_id, asset_delivery.c.run_id.is_(None),
            asset_delivery.c.dropped_at.is_(None), asset_delivery.c.event_id.in_(events),
        )
        .values(**values)
    )  # fmt: skip
    _expect(connection.execute(statement).rowcount, len(events), what)


def _refuse_paused(connection: Connection, consumers: set[int]) -> None:
    """An acknowledged pause is never overtaken: a paused DAG's events stay open."""
    if not consumers:
        return
    awake = select(dag.c.id).where(dag.c.id.in_(consumers), dag.c.paused.is_(False)).order_by(dag.c.id)
    if connection.dialect.name != "sqlite":
        awake = awake.with_for_update(read=True)
    _expect(len(connection.execute(awake).all()), len(consumers), "DAGs that consume events, not paused")


def asset_ids(connection: Connection, keys: set[str]) -> dict[str, int]:
    """The ids of assets, created where they are new."""
    if not keys:
        return {}
    connection.execute(
        dialects.insert_ignore(connection, asset), [{"key": key, "tags": "[]", "kind": "table"} for key in sorted(keys)]
    )
    rows = connection.execute(select(asset.c.key, asset.c.id).where(asset.c.key.in_(keys)))
    return dict(rows.all())


def _lock_assets(connection: Connection, plan: Plan) -> dict[str, int]:
    """The ids of a turn's assets. Their rows are locked once, in id order: an event is either before or after a
    subscription, never in between, and no two schedulers wait for each other."""
    subscribed = {key for _, keys in plan.subscriptions for key in keys}
    ids = asset_ids(connection, subscribed.union(row.asset for row in plan.asset_events))
    if connection.dialect.name != "sqlite":
        own = asset_sub.c.dag_id.in_([dag_id for dag_id, _ in plan.subscriptions])
        left = select(asset_sub.c.asset_id).where(own)  # a DAG that stops listening locks what it leaves, too
        rows = select(asset.c.id).where(or_(asset.c.id.in_(ids.values()), asset.c.id.in_(left))).order_by(asset.c.id)
        connection.execute(rows.with_for_update(read=not plan.subscriptions))
    return ids


def _publish(connection: Connection, rows: list[AssetEventRow], ids: dict[str, int]) -> None:
    """Insert events, and one open delivery for each subscriber, paused ones too. In the order of their unique key: two
    that report the same events must not wait for each other."""
    for row in sorted(rows, key=lambda row: (row.source_key, row.asset, row.partition, row.kind)):
        statement = dialects.insert_ignore(connection, asset_event).values(
            id=row.id, asset_id=ids[row.asset], partition_key=row.partition, kind=row.kind, dag_id=row.dag,
            run_id=row.run, task_no=row.task_no, map_index=row.map_index, try_no=row.try_no,
            data_version=row.data_version, data_time=row.data_time, metadata=row.metadata,
            source_key=row.source_key, ts=row.ts,
        )  # fmt: skip
        # Not by rowcount: of an INSERT it is unknown (-1) on Postgres.
        if connection.execute(statement.returning(asset_event.c.id)).first() is not None:
            connection.execute(DELIVER, {"event": row.id, "asset": ids[row.asset]})


DELIVER = text(
    "INSERT INTO asset_delivery (dag_id, event_id, shard)"
    " SELECT asset_sub.dag_id, :event, dag.shard FROM asset_sub JOIN dag ON dag.id = asset_sub.dag_id"
    " WHERE asset_sub.asset_id = :asset ORDER BY asset_sub.dag_id"
)


def _subscribe(connection: Connection, dag_id: int, wanted: set[int], now: int) -> None:
    """A DAG listens to exactly these assets from now on; open deliveries of others are dropped."""
    present = set(connection.execute(select(asset_sub.c.asset_id).where(asset_sub.c.dag_id == dag_id)).scalars())
    if present - wanted:
        gone = present - wanted
        connection.execute(delete(asset_sub).where(asset_sub.c.dag_id == dag_id, asset_sub.c.asset_id.in_(gone)))
        events = select(asset_event.c.id).where(asset_event.c.asset_id.in_(gone))
        is_open = and_(asset_delivery.c.run_id.is_(None), asset_delivery.c.dropped_at.is_(None))
        connection.execute(
            update(asset_delivery)
            .where(asset_delivery.c.dag_id == dag_id, is_open, asset_delivery.c.event_id.in_(events))
            .values(dropped_at=now)
        )
    if wanted - present:
        added = [{"dag_id": dag_id, "asset_id": number} for number in sorted(wanted - present)]
        connection.execute(insert(asset_sub), added)


def _move_runs(connection: Connection, plan: Plan, now: int) -> None:
    for run_id, verdict, reason in plan.verdicts:
        connection.execute(update(dag_run).where(dag_run.c.id == run_id).values(verdict=verdict or None, reason=reason))
    if plan.run_moves:
        _expect(transitions.move_runs(connection, plan.run_moves), len(plan.run_moves), "moves of runs")
    for dag_id, why in plan.pauses:
        connection.execute(update(dag).where(dag.c.id == dag_id).values(paused=True))
        name = connection.execute(select(dag.c.name).where(dag.c.id == dag_id)).scalar_one()
        connection.execute(insert(audit).values(at=now, actor="dagd", action="pause", subject=name, detail=why))
    for run_id, version in plan.pins:
        connection.execute(update(dag_run).where(dag_run.c.id == run_id).values(version_id=version))
    for backfill_move in plan.backfill_moves:
        moved = transitions.move_backfill(connection, backfill_move)
        _expect(moved, 1, f"{backfill_move.event} of backfill {backfill_move.backfill}")
    if plan.adoptions:
        backfills.adopt_runs(connection, plan.adoptions)
    if plan.backfills:
        backfills.write_progress(connection, plan.backfills)


def _write_requests(connection: Connection, plan: Plan, now: int) -> None:
    if plan.deadlines:
        transitions.write_deadlines(connection, plan.deadlines)
    for done in plan.commands:
        _expect(transitions.close_command(connection, done, now), 1, f"request {done.id}")
    if plan.outbox:
        connection.execute(
            insert(outbox),
            [
                {
                    "id": row.id, "topic": row.topic, "subject": row.subject, "payload": row.payload,
                    "created_at": row.at, "next_at": row.at, "tries": 0,
                }
                for row in plan.outbox
            ],
        )  # fmt: skip
