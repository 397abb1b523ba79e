"""The database as a thing to look after: how large it is, whether it is whole, a copy of it, old runs out of it.

Deletes go in steps, so that no foreign write transaction keeps the scheduler waiting.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, delete, func, select, text
from sqlalchemy.exc import DBAPIError

from dagd.model.errors import Refused
from dagd.model.states import ACTIVE_BELOW
from dagd.store.database import Database
from dagd.store.schema import (
    asset_delivery,
    asset_sub,
    attempt,
    backfill,
    command,
    dag,
    dag_run,
    dag_version,
    deadline,
    map_expansion,
    metadata,
    task,
    task_asset,
    xcom,
)

# What one transaction deletes at most. A run that is larger goes alone.
STEP_RUNS, STEP_TRIES = 200, 2_000
# Between two steps: without it the scheduler found the next step's lock and waited up to a second for a single write.
REST_S = 0.02
BACKUP_PAGES = 256


def table_sizes(connection: Connection) -> list[dict[str, Any]]:
    """{name, rows, bytes} of each table, by name; bytes are None where the database does not say."""
    names = sorted(metadata.tables)
    sizes = _sqlite_sizes(connection) if connection.dialect.name == "sqlite" else _postgres_sizes(connection)
    found = []
    for name in names:
        rows = connection.execute(select(func.count()).select_from(metadata.tables[name])).scalar_one()
        found.append({"name": name, "rows": int(rows), "bytes": sizes.get(name)})
    return found


def _postgres_sizes(connection: Connection) -> dict[str, int]:
    statement = text("SELECT relname, pg_total_relation_size(oid) FROM pg_class WHERE relkind = 'r'")
    return {row[0]: int(row[1]) for row in connection.execute(statement)}


def _sqlite_sizes(connection: Connection) -> dict[str, int]:
    """Bytes by table, its indexes with it, where this SQLite has dbstat; else nothing."""
    rows = connection.execute(text("SELECT name, tbl_name FROM sqlite_master"))
    owners: dict[str, str] = {row[0]: row[1] for row in rows}
    sizes: dict[str, int] = {}
    try:
        for name, size in connection.execute(text("SELECT name, sum(pgsize) FROM dbstat GROUP BY name")):
            owner = owners.get(name, name)
            sizes[owner] = sizes.get(owner, 0) + int(size)
    except DBAPIError:
        return {}
    return sizes


def whole_size(database: Database, connection: Connection) -> int:
    """Bytes of the database; of an embedded one with the log that has not been merged yet."""
    if database.path is None:
        return int(connection.execute(text("SELECT pg_database_size(current_database())")).scalar_one())
    beside = [database.path, database.path.with_name(database.path.name + "-wal")]
    return sum(path.stat().st_size for path in beside if path.exists())


def problems(database: Database, connection: Connection) -> Iterator[str]:
    """What is wrong with the database; nothing when it is whole."""
    if database.is_sqlite:
        for (line,) in connection.execute(text("PRAGMA integrity_check(20)")):
            if line != "ok":
                yield str(line)
    lost = select(func.count()).select_from(attempt).where(attempt.c.run_id.not_in(select(dag_run.c.id)))
    count = connection.execute(lost).scalar_one()
    if count:
        yield f"{count} tries belong to no run"
    without = select(func.count()).select_from(dag_run).where(dag_run.c.version_id.not_in(select(dag_version.c.id)))
    count = connection.execute(without).scalar_one()
    if count:
        yield f"{count} runs have no version"


def backup(database: Database, target: Path) -> int:
    """Copy an embedded database while it is in use; returns the bytes. Raises Refused for others, FileExistsError."""
    if not database.is_sqlite:
        raise Refused("this copies the embedded database alone", remedy="Use pg_dump for Postgres.")
    os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    raw = database.engine.raw_connection()
    copy = sqlite3.connect(target)
    try:
        source: Any = raw.driver_connection
        source.backup(copy, pages=BACKUP_PAGES)
        copy.execute("PRAGMA journal_mode=DELETE")
    finally:
        copy.close()
        raw.close()
    return target.stat().st_size


def old_runs(connection: Connection, before: int, dag_id: int | None = None) -> list[int]:
    """Runs that ended before an instant, the oldest first."""
    wanted = [dag_run.c.state >= ACTIVE_BELOW, dag_run.c.ended_at < before]
    if dag_id is not None:
        wanted.append(dag_run.c.dag_id == dag_id)
    return list(connection.execute(select(dag_run.c.id).where(*wanted).order_by(dag_run.c.id)).scalars())


def runs_of(connection: Connection, dag_id: int, *, active: bool = False) -> list[int]:
    """Every run of a DAG, or those that have not ended."""
    statement = select(dag_run.c.id).where(dag_run.c.dag_id == dag_id).order_by(dag_run.c.id)
    return list(connection.execute(statement.where(dag_run.c.state < ACTIVE_BELOW) if active else statement).scalars())


def log_folders(connection: Connection, runs: list[int]) -> list[str]:
    """Where the logs of these runs are, below the log folder, of those that are still there."""
    found: list[str] = []
    for start in range(0, len(runs), STEP_RUNS):
        part = select(dag_run.c.dag_id, dag_run.c.id).where(dag_run.c.id.in_(runs[start : start + STEP_RUNS]))
        found += [f"{row.dag_id}/{row.id}" for row in connection.execute(part)]
    return found


def delete_runs(database: Database, runs: list[int], tell: Callable[[Connection], None]) -> int:
    """Delete ended runs with all that is theirs, in steps; returns how many. `tell` writes the audit line, first.

    A run that is not ended any more (a clear came in between) stays. Which events they consumed is kept.
    """
    deleted = 0
    with database.write() as connection:
        tell(connection)
    for start in range(0, len(runs), STEP_RUNS):
        for part in _small_steps(database, runs[start : start + STEP_RUNS]):
            deleted += _delete_ended(database, part)
            time.sleep(REST_S)
    return deleted


def _small_steps(database: Database, runs: list[int]) -> Iterator[list[int]]:
    with database.read() as connection:
        counted = select(attempt.c.run_id, func.count()).where(attempt.c.run_id.in_(runs)).group_by(attempt.c.run_id)
        tries = {row[0]: int(row[1]) for row in connection.execute(counted)}
    step: list[int] = []
    room = STEP_TRIES
    for run in runs:
        size = tries.get(run, 0)
        if step and size > room:
            yield step
            step, room = [], STEP_TRIES
        step.append(run)
        room -= size
    if step:
        yield step


def _delete_ended(database: Database, runs: list[int]) -> int:
    with database.write() as connection:
        still = select(dag_run.c.id).where(dag_run.c.id.in_(runs), dag_run.c.state >= ACTIVE_BELOW)
        ended = list(connection.execute(still).scalars())
        for table in (attempt, xcom, map_expansion, deadline, command):
            connection.execute(delete(table).where(table.c.run_id.in_(ended)))
        return connection.execute(delete(dag_run).where(dag_run.c.id.in_(ended))).rowcount


def delete_dag(connection: Connection, dag_id: int) -> None:
    """Delete a DAG that has no runs any more, with its versions and subscriptions."""
    for table in (dag_version, task, task_asset, asset_sub, asset_delivery, command, backfill):
        connection.execute(delete(table).where(table.c.dag_id == dag_id))
    connection.execute(delete(dag).where(dag.c.id == dag_id))
