"""What lists and shows read of DAGs, files, commands and parts. Queries only: nothing is decided or changed here."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from sqlalchemy import Connection, Row, func, select
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from dagd.model.states import ACTIVE_BELOW
from dagd.store.schema import (
    asset,
    asset_sub,
    attempt,
    audit,
    command,
    component,
    dag,
    dag_run,
    dag_version,
    deadline,
    import_error,
    pool,
    scheduler,
    source,
    task,
)

# What SQLite says while a connection is being prepared comes as it is, everything else by way of SQLAlchemy.
DatabaseProblem = (DBAPIError, sqlite3.Error)
CannotOpen = (SQLAlchemyError, ImportError, ValueError)
AnyRow = Row[Any]


def dag_names(connection: Connection) -> list[str]:
    """Every DAG's name, sorted."""
    return list(connection.execute(select(dag.c.name).order_by(dag.c.name)).scalars())


def dag_row(connection: Connection, name: str) -> AnyRow | None:
    """A DAG's row."""
    return connection.execute(select(dag).where(dag.c.name == name)).first()


def dags(connection: Connection, name: str | None = None) -> list[AnyRow]:
    """Every DAG (or one) by name, with `number` and `spec` of its version and its last run (`last_*`) in its order."""
    newest = (
        select(dag_run.c.id)
        .where(dag_run.c.dag_id == dag.c.id)
        .order_by(dag_run.c.due_at.desc(), dag_run.c.id.desc())
        .limit(1)
        .correlate(dag)
        .scalar_subquery()
    )
    last = dag_run.alias("last")
    statement = (
        select(
            dag,
            dag_version.c.number,
            dag_version.c.spec,
            last.c.run_id.label("last_run_id"),
            last.c.state.label("last_state"),
            last.c.logical_at.label("last_logical_at"),
        )
        .outerjoin(dag_version, dag_version.c.id == dag.c.current_version)
        .outerjoin(last, last.c.id == newest)
        .order_by(dag.c.name)
    )
    if name is not None:
        statement = statement.where(dag.c.name == name)
    return list(connection.execute(statement))


def active_counts(connection: Connection) -> dict[int, int]:
    """How many runs of each DAG have not ended."""
    live = select(dag_run.c.dag_id, func.count()).where(dag_run.c.state < ACTIVE_BELOW).group_by(dag_run.c.dag_id)
    return {row[0]: row[1] for row in connection.execute(live)}


def import_errors(connection: Connection) -> list[AnyRow]:
    """Every file that cannot be imported, by path."""
    return list(connection.execute(select(import_error).order_by(import_error.c.file)))


def versions(connection: Connection, dag_id: int) -> list[AnyRow]:
    """The versions of a DAG, the newest first, without their specs."""
    columns = (dag_version.c.id, dag_version.c.number, dag_version.c.hash, dag_version.c.created_at)
    return list(
        connection.execute(select(*columns).where(dag_version.c.dag_id == dag_id).order_by(dag_version.c.number.desc()))
    )


def version(connection: Connection, dag_id: int, number: int | None, current: int | None) -> AnyRow | None:
    """A version by its number, or the current one."""
    same = dag_version.c.id == current if number is None else dag_version.c.number == number
    return connection.execute(select(dag_version).where(dag_version.c.dag_id == dag_id, same)).first()


def spec_of(row: AnyRow) -> dict[str, Any]:
    """The spec of a version's row, as JSON."""
    return dict(json.loads(row.spec))


def source_body(connection: Connection, digest: str) -> str | None:
    """A source text by its hash."""
    return connection.execute(select(source.c.body).where(source.c.hash == digest)).scalar()


def command_row(connection: Connection, command_id: int) -> AnyRow | None:
    """A request: its state and result."""
    return connection.execute(select(command).where(command.c.id == command_id)).first()


def schedulers(connection: Connection) -> list[AnyRow]:
    """The schedulers that nobody has declared dead, by id."""
    return list(connection.execute(select(scheduler).where(scheduler.c.alive.is_(True)).order_by(scheduler.c.id)))


def components(connection: Connection) -> list[AnyRow]:
    """The other parts that report their heartbeat, by name and host."""
    return list(connection.execute(select(component).order_by(component.c.name, component.c.host)))


def live_counts(connection: Connection) -> dict[int, int]:
    """How many tries are queued, running, deferred."""
    rows = connection.execute(
        select(attempt.c.state, func.count()).where(attempt.c.state < ACTIVE_BELOW).group_by(attempt.c.state)
    )
    return {row[0]: row[1] for row in rows}


def run_counts(connection: Connection) -> dict[int, int]:
    """How many runs stand in each state."""
    rows = connection.execute(select(dag_run.c.state, func.count()).group_by(dag_run.c.state))
    return {row[0]: row[1] for row in rows}


def active_runs(connection: Connection) -> list[AnyRow]:
    """Every run that has not ended, of any DAG."""
    rows = connection.execute(select(dag_run).where(dag_run.c.state < ACTIVE_BELOW))
    return sorted(rows, key=lambda row: int(row.id))


def dag_rows(connection: Connection) -> dict[int, AnyRow]:
    """Every DAG's row by its number."""
    return {row.id: row for row in connection.execute(select(dag))}


def pools(connection: Connection) -> list[AnyRow]:
    """Every pool by name."""
    return list(connection.execute(select(pool).order_by(pool.c.name)))


def deadlines(
    connection: Connection, *, state: int | None = None, name: str | None = None, limit: int | None = None
) -> list[AnyRow]:
    """Deadlines with `dag_name`, `run_name` and `task_id`, the earliest due first."""
    statement = (
        select(deadline, dag.c.name.label("dag_name"), dag_run.c.run_id.label("run_name"), task.c.task_id)
        .join(dag, dag.c.id == deadline.c.dag_id)
        .join(dag_run, dag_run.c.id == deadline.c.run_id)
        .outerjoin(task, (task.c.dag_id == deadline.c.dag_id) & (task.c.task_no == deadline.c.task_no))
        .order_by(deadline.c.due_at, deadline.c.run_id, deadline.c.task_no, deadline.c.kind)
    )
    if state is not None:
        statement = statement.where(deadline.c.state == state)
    if name is not None:
        statement = statement.where(dag.c.name == name)
    return list(connection.execute(statement.limit(limit)))


def audit_rows(
    connection: Connection, *, subject: str | None = None, action: str | None = None, limit: int | None = None
) -> list[AnyRow]:
    """The audit log, the newest first; `subject` is a reference and stands for what lies below it too."""
    statement = select(audit).order_by(audit.c.id.desc())
    if subject is not None:
        below = f"{subject}/"
        own = func.substr(audit.c.subject, 1, len(below)) == below
        statement = statement.where((audit.c.subject == subject) | own)
    if action is not None:
        statement = statement.where(audit.c.action == action)
    return list(connection.execute(statement.limit(limit)))


def subscribed(connection: Connection, dag_id: int) -> list[str]:
    """The asset keys that a DAG listens to, sorted."""
    statement = select(asset.c.key).join(asset_sub, asset_sub.c.asset_id == asset.c.id)
    return list(connection.execute(statement.where(asset_sub.c.dag_id == dag_id).order_by(asset.c.key)).scalars())
