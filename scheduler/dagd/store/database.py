"""Opening a database and its two kinds of transaction."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, CursorResult, Row, create_engine, event
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError
from sqlalchemy.pool import NullPool, QueuePool

from dagd.model.errors import Unreachable
from dagd.store import dialects

# Names that the engine needs without importing SQLAlchemy itself.
__all__ = [
    "Connection",
    "DBAPIError",
    "DataError",
    "Database",
    "IntegrityError",
    "LazyRead",
    "Row",
    "new_key",
    "open_database",
    "unreachable",
]

APPLICATION = "dagd"


class LazyRead:
    """Opens one consistent read at first use."""

    def __init__(self, database: Database, stack: ExitStack) -> None:
        self._database, self._stack = database, stack
        self._connection: Connection | None = None

    @property
    def connection(self) -> Connection:
        """The read's connection."""
        if self._connection is None:
            self._connection = self._stack.enter_context(self._database.read())
        return self._connection


class Database:
    """A database that is open. Connections are passed, never injected.

    `is_shared` says whether several schedulers may use it at once; a SQLite file has one, by its lock.
    """

    def __init__(self, engine: Engine, *, is_shared: bool | None = None) -> None:
        self.engine = engine
        self.statements = 0  # sent so far; a metric, not exact between threads
        event.listen(engine, "before_cursor_execute", self._count)
        self.is_shared = not self.is_sqlite if is_shared is None else is_shared
        self._writer = engine.execution_options(dagd_write=True)

    def _count(self, *_: object) -> None:
        self.statements += 1

    @property
    def is_sqlite(self) -> bool:
        """Whether this is the embedded database."""
        return self.engine.dialect.name == "sqlite"

    @property
    def path(self) -> Path | None:
        """The file of an embedded database."""
        return Path(self.engine.url.database) if self.is_sqlite and self.engine.url.database else None

    def describe(self) -> str:
        """What a person is told: `sqlite dagd.db` or `postgres host/database`; never a password."""
        url = self.engine.url
        if self.is_sqlite:
            return f"sqlite {Path(url.database or '').name}"
        return f"postgres {url.host or 'local'}/{url.database}"

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction that may write; rolled back when the block raises. Raises Unreachable."""
        try:
            connection = self._writer.connect()
        except DBAPIError as error:
            raise unreachable(self, error) from error
        with connection, connection.begin():
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One consistent read."""
        try:
            connection = self.engine.connect()
        except DBAPIError as error:
            raise unreachable(self, error) from error
        with connection, connection.begin():
            yield connection

    @contextmanager
    def lazy_read(self) -> Iterator[LazyRead]:
        """A read that begins only when someone looks: most launches need nothing from the database."""
        with ExitStack() as stack:
            yield LazyRead(self, stack)

    def writer(self) -> Connection:
        """A connection that its owner keeps for many write transactions. Raises Unreachable."""
        try:
            return self._writer.connect()
        except DBAPIError as error:
            raise unreachable(self, error) from error

    def close(self) -> None:
        """Close every pooled connection."""
        self.engine.dispose()


def unreachable(database: Database, error: Exception) -> Unreachable:
    """The database cannot be reached, in words that hold no password."""
    reason = str(getattr(error, "orig", error)).strip().splitlines()
    first = reason[0] if reason else type(error).__name__
    return Unreachable(
        f"the database ({database.describe()}) cannot be reached: {first}",
        remedy="Check DAGD_DATABASE_URL and that the server runs; `dagd config show` tells what is in force.",
    )


def new_key(result: CursorResult[Any]) -> int:
    """The id that an INSERT of one row was given."""
    key = result.inserted_primary_key
    assert key is not None
    return int(key[0])


def open_database(url: str, *, busy_timeout_s: float = 10.0, pooled: bool = True) -> Database:
    """Open `url`. A SQLite file's folder is created, private to the user; its tables are not."""
    if url.startswith("sqlite"):
        path = url.removeprefix("sqlite:///")
        if path and path != ":memory:":
            folder = Path(path).parent
            if not folder.exists():
                folder.mkdir(parents=True, mode=0o700)
            _create_private(Path(path))
        engine = create_engine(
            url, poolclass=QueuePool, pool_size=4, connect_args={"check_same_thread": False, "timeout": busy_timeout_s}
        )
        dialects.prepare_sqlite(engine, busy_timeout_s)
        return Database(engine)
    engine = create_engine(
        url,
        poolclass=QueuePool if pooled else NullPool,
        connect_args={"connect_timeout": max(2, int(busy_timeout_s)), "application_name": APPLICATION},
    )
    return Database(engine)


def _create_private(path: Path) -> None:
    """SQLite creates files by the umask; ours are without rights for group and others."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        return
    except OSError as error:
        raise Unreachable(f"the database file {path} cannot be created: {error.strerror}") from error
