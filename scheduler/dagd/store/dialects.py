"""Every oddity of SQLite and Postgres, and nothing else."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Table, event, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

PAUSE_S = 0.02
SQLITE_PRAGMAS = (
    "PRAGMA synchronous=FULL",
    "PRAGMA foreign_keys=OFF",
    "PRAGMA temp_store=MEMORY",
    "PRAGMA cache_size=-32000",
)
# Microseconds since the epoch by the database's own clock.
CLOCK = {
    "sqlite": "CAST((julianday('now') - 2440587.5) * 86400000.0 AS INTEGER) * 1000",
    "postgresql": "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)",
}


def prepare_sqlite(engine: Engine, busy_timeout_s: float) -> None:
    """Transactions begin where we say: BEGIN IMMEDIATE for writers, so that a writer never fails half-way as busy."""

    @event.listens_for(engine, "connect")
    def _connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout={int(busy_timeout_s * 1000)}")
        _use_wal(cursor, int(busy_timeout_s / PAUSE_S) + 1)
        for pragma in SQLITE_PRAGMAS:
            cursor.execute(pragma)
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        write = connection.get_execution_options().get("dagd_write", False)
        driver = connection.connection.dbapi_connection
        assert driver is not None
        try:
            driver.execute("BEGIN IMMEDIATE" if write else "BEGIN")
        except sqlite3.OperationalError as error:
            raise OperationalError("BEGIN", None, error) from error


def _use_wal(cursor: sqlite3.Cursor, attempts: int) -> None:
    """Switch to WAL. Two that open a new file at once lock each other out of the switch, which busy_timeout does not
    wait for; a file that is in WAL already is left alone."""
    for left in range(attempts, 0, -1):
        try:
            if cursor.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
                cursor.execute("PRAGMA journal_mode=WAL").fetchone()
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or left == 1:
                raise
            threading.Event().wait(PAUSE_S)


class Batch:
    """One statement for many rows, compiled once for each database and handed to the driver as it is: SQLAlchemy's
    price per row is about that of SQLite itself."""

    def __init__(self, statement: Any, names: Sequence[str] = ()) -> None:
        """`names`: the columns of an INSERT that its rows give; an UPDATE names its parameters itself. Rows must give
        every parameter."""
        self._statement, self._names = statement, list(names) or None
        self._compiled: dict[str, tuple[str, list[str] | None]] = {}

    def run(self, connection: Connection, rows: Sequence[dict[str, Any]]) -> int:
        """For every row; returns how many rows of the table moved."""
        dialect = connection.dialect
        known = self._compiled.get(dialect.name)
        if known is None:
            made = self._statement.compile(dialect=dialect, column_keys=self._names)
            known = self._compiled[dialect.name] = (str(made), made.positiontup)
        text, order = known
        values: Any = rows if order is None else [tuple([row[name] for name in order]) for row in rows]
        return connection.exec_driver_sql(text, values).rowcount


def insert_ignore(connection: Connection, table: Table) -> Any:
    """INSERT ... ON CONFLICT DO NOTHING for the connection's database."""
    if connection.dialect.name == "sqlite":
        return sqlite.insert(table).on_conflict_do_nothing()
    return postgresql.insert(table).on_conflict_do_nothing()


def upsert(connection: Connection, table: Table, keys: list[str], values: list[str]) -> Any:
    """INSERT ... ON CONFLICT (keys) DO UPDATE SET values for the connection's database."""
    if connection.dialect.name == "sqlite":
        lite = sqlite.insert(table)
        return lite.on_conflict_do_update(index_elements=keys, set_={name: lite.excluded[name] for name in values})
    post = postgresql.insert(table)
    return post.on_conflict_do_update(index_elements=keys, set_={name: post.excluded[name] for name in values})


def clock(connection: Connection) -> int:
    """Now by the database's clock, in microseconds UTC."""
    return int(connection.execute(text(f"SELECT {CLOCK[connection.dialect.name]}")).scalar_one())


def data_version(connection: Connection) -> int | None:
    """A number that changes when another SQLite connection commits; None where there is none (Postgres)."""
    if connection.dialect.name != "sqlite":
        return None
    return int(connection.exec_driver_sql("PRAGMA data_version").scalar_one())


def for_update(connection: Connection) -> str:
    """The suffix that locks selected rows until the end of the transaction."""
    return "" if connection.dialect.name == "sqlite" else " FOR UPDATE"


def is_disconnect(error: DBAPIError) -> bool:
    """Whether the database went away (rather than refused a statement)."""
    if error.connection_invalidated:
        return True
    if isinstance(error, IntegrityError):
        return False
    words = str(error.orig).lower()
    return isinstance(error, OperationalError) and not ("syntax" in words or "no such" in words)
