"""What lists and shows read of assets and their events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, and_, func, select

from dagd.store.schema import asset, asset_delivery, asset_event, asset_sub, dag, dag_run, task, task_asset

AnyRow = Row[Any]


def assets(connection: Connection, key: str | None = None) -> list[AnyRow]:
    """Assets by key, with the instant of their last event (`last_ts`) and how many there are (`events`)."""
    newest = select(func.max(asset_event.c.ts)).where(asset_event.c.asset_id == asset.c.id).correlate(asset)
    count = select(func.count()).select_from(asset_event).where(asset_event.c.asset_id == asset.c.id).correlate(asset)
    statement = select(
        asset, newest.scalar_subquery().label("last_ts"), count.scalar_subquery().label("events")
    ).order_by(asset.c.key)
    if key is not None:
        statement = statement.where(asset.c.key == key)
    return list(connection.execute(statement))


def users(connection: Connection, ids: Sequence[int] | None = None) -> list[AnyRow]:
    """(asset_id, role, dag_name, task_id) of tasks that read (`in`) or write (`out`) assets, of current versions."""
    statement = (
        select(task_asset.c.asset_id, task_asset.c.role, dag.c.name.label("dag_name"), task.c.task_id)
        .join(dag, dag.c.id == task_asset.c.dag_id)
        .join(task, and_(task.c.dag_id == task_asset.c.dag_id, task.c.task_no == task_asset.c.task_no))
        .order_by(dag.c.name, task.c.task_id)
    )
    if ids is not None:
        statement = statement.where(task_asset.c.asset_id.in_(ids))
    return list(connection.execute(statement))


def listeners(connection: Connection) -> list[AnyRow]:
    """(asset_id, dag_name) of the DAGs whose schedule listens to assets."""
    statement = select(asset_sub.c.asset_id, dag.c.name.label("dag_name")).join(dag, dag.c.id == asset_sub.c.dag_id)
    return list(connection.execute(statement.order_by(dag.c.name)))


def events(connection: Connection, asset_id: int, limit: int | None = None) -> list[AnyRow]:
    """The events of an asset, the newest first, with what is needed to name the instance that emitted each."""
    statement = (
        select(
            asset_event, dag.c.name.label("dag_name"), dag_run.c.run_id.label("run_name"), task.c.task_id,
        )
        .outerjoin(dag_run, dag_run.c.id == asset_event.c.run_id)
        .outerjoin(dag, dag.c.id == asset_event.c.dag_id)
        .outerjoin(task, and_(task.c.dag_id == asset_event.c.dag_id, task.c.task_no == asset_event.c.task_no))
        .where(asset_event.c.asset_id == asset_id)
        .order_by(asset_event.c.ts.desc(), asset_event.c.id.desc())
    )  # fmt: skip
    return list(connection.execute(statement.limit(limit)))


def consumers(connection: Connection, event_ids: Sequence[int]) -> dict[int, list[str]]:
    """The runs (DAG/RUN) that consumed each event."""
    found: dict[int, list[str]] = {}
    statement = (
        select(asset_delivery.c.event_id, dag.c.name, dag_run.c.run_id)
        .join(dag_run, dag_run.c.id == asset_delivery.c.run_id)
        .join(dag, dag.c.id == dag_run.c.dag_id)
        .where(asset_delivery.c.event_id.in_(event_ids))
        .order_by(asset_delivery.c.event_id, dag.c.name)
    )
    for event, name, run in connection.execute(statement):
        found.setdefault(event, []).append(f"{name}/{run}")
    return found
