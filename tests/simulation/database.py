"""One SQLite database in memory for all schedulers of a story; faults strike at its transactions.

Its clock is the story's: `julianday('now')`, which is all that the store asks, is a function of ours.
"""

from __future__ import annotations

import itertools
import sqlite3
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

from sqlalchemy import create_engine, event
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import QueuePool

from dagd.store import dialects
from dagd.store.database import Database
from dagd.store.migrate import migrate
from dagd.store.schema import metadata
from tests.simulation.faults import Killed

if TYPE_CHECKING:
    from tests.simulation.actors import Actor, Time

NUMBER = itertools.count()
EPOCH_DAY = 2440587.5


@cache
def template() -> sqlite3.Connection:
    """A migrated database, to be copied."""
    memory = SharedMemory(None)
    database = memory.open(None)
    migrate(database)
    memory.give_back(database)
    return memory.anchor


class Desk:
    """An engine that story after story uses, because it knows most statements by heart; whose it is now."""

    idle: ClassVar[list[Desk]] = []

    def __init__(self) -> None:
        self.memory: SharedMemory | None = None
        self.actor: Actor | None = None
        self.open: dict[int, bool] = {}  # open transactions, by connection: whether they write
        engine = create_engine("sqlite://", creator=self._connect, poolclass=QueuePool, pool_size=4)
        event.listen(engine, "begin", self._begin)
        dialects.prepare_sqlite(engine, 0)
        event.listen(engine, "begin", self._begun)
        dialect, self._do_commit, self._do_rollback = (
            engine.dialect,
            engine.dialect.do_commit,
            engine.dialect.do_rollback,
        )
        dialect.do_commit, dialect.do_rollback = self._commit, self._rollback  # type: ignore[method-assign]
        self.engine = engine

    def _connect(self) -> sqlite3.Connection:
        assert self.memory is not None
        return self.memory.connect()

    def _begin(self, _connection: Any) -> None:
        if self.actor is not None and not self.open:
            self.actor.at_begin()
        if self.memory is not None and self.memory.is_away:
            raise OperationalError("BEGIN", None, sqlite3.OperationalError("server closed the connection"))

    def _begun(self, connection: Any) -> None:
        is_write = connection.get_execution_options().get("dagd_write", False)
        self.open[id(connection.connection.dbapi_connection)] = is_write

    def _commit(self, raw: Any) -> None:
        is_write = self.open.pop(id(_driver(raw)), False)
        fault = self.actor.at_commit() if is_write and self.actor is not None else None
        if fault is None or fault.endswith("after"):
            self._do_commit(raw)
        if fault is None:
            return
        if fault.startswith("killed"):
            raise Killed
        if fault.startswith("refused"):
            raise sqlite3.IntegrityError("could not serialize access")
        raise sqlite3.OperationalError("server closed the connection")

    def _rollback(self, raw: Any) -> None:
        self.open.pop(id(_driver(raw)), None)
        self._do_rollback(raw)


def _driver(raw: Any) -> Any:
    return getattr(raw, "dbapi_connection", raw)


class SharedMemory:
    """The database of one story. `is_away` while it answers nobody."""

    def __init__(self, time: Time | None) -> None:
        self._uri = f"file:story{next(NUMBER)}?mode=memory&cache=shared"
        self._time = time
        self.is_away = False
        self._desks: dict[int, Desk] = {}
        self.anchor = self.connect()
        self.anchor.row_factory = sqlite3.Row
        if time is not None:
            template().backup(self.anchor)

    def close(self) -> None:
        """The memory is free when everybody has closed."""
        self.anchor.close()

    def connect(self) -> sqlite3.Connection:
        """A connection on the story's time."""
        raw = sqlite3.connect(self._uri, uri=True, isolation_level=None, check_same_thread=False, timeout=0)
        raw.execute("PRAGMA read_uncommitted=1")  # a reader locks no table: as with WAL, it never disturbs a writer
        if self._time is not None:
            raw.create_function("julianday", 1, self._julianday)
        return raw

    def _julianday(self, _now: str) -> float:
        assert self._time is not None
        return (self._time.at // 1000 + 0.5) / 86_400_000.0 + EPOCH_DAY

    def open(self, actor: Actor | None, *, is_shared: bool = True) -> Database:
        """A scheduler's own engine, or (None) that of people, whose transactions only an outage disturbs."""
        desk = Desk.idle.pop() if Desk.idle else Desk()
        desk.memory, desk.actor = self, actor
        self._desks[id(desk.engine)] = desk
        return Database(desk.engine, is_shared=is_shared)

    def give_back(self, database: Database) -> None:
        """Its user is gone; what counted its statements would else count those of all who come after."""
        database.close()
        event.remove(database.engine, "before_cursor_execute", database._count)
        desk = self._desks.pop(id(database.engine))
        desk.memory, desk.actor = None, None
        desk.open.clear()
        Desk.idle.append(desk)

    def rows(self, *names: str) -> dict[str, list[dict[str, Any]]]:
        """The rows of these tables (of all when none is named), as the checker takes them."""
        tables = names or tuple(metadata.tables)
        return {name: [dict(row) for row in self.anchor.execute(f"SELECT * FROM {name}")] for name in tables}
