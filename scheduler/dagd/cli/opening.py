"""The database of a command: opened late, waited for while it is locked or starting, closed at the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from dagd.cli.context import settings as load
from dagd.cli.text import first_line
from dagd.engine.migration import migrate_database
from dagd.model.errors import DagdError, Unreachable
from dagd.model.settings import Settings
from dagd.observe.private import keep_private
from dagd.store import reads
from dagd.store.database import Database, open_database, unreachable
from dagd.store.migrate import check_schema
from dagd.store.reads import CannotOpen, DatabaseProblem

T = TypeVar("T")
# Words of an error that says that the database will soon be there.
PASSING = (
    "locked",
    "busy",
    "starting up",
    "shutting down",
    "recovery",
    "refused",
    "not yet accepting",
    "terminating connection",
    "closed the connection",
    "connection is closed",
)
PAUSE_S = 0.1
TELL_S = 1.0


@contextmanager
def opened(settings: Settings | None = None, *, create: bool = False) -> Iterator[Database]:
    """The database at this release's schema. Raises Unreachable or SchemaMismatch.

    `create` makes the embedded one when there is none yet: a pool or a secret may be set before the first `dagd up`.
    """
    keep_private()
    known = settings or load()
    if create and known.is_sqlite and not _sqlite_path(known).exists():
        migrate_database(known)
    database = patiently(known, lambda: _open(known))
    try:
        yield database
    except DatabaseProblem as error:
        raise unreachable(database, error) from error
    finally:
        database.close()


def patiently(settings: Settings, attempt: Callable[[], T]) -> T:
    """Try again while the database is locked or starts up, for at most `database.busy_timeout_s`."""
    begun = time.monotonic()
    told = False
    while True:
        try:
            return attempt()
        except Unreachable as error:
            waited = time.monotonic() - begun
            passing = any(word in error.what.lower() for word in PASSING)
            starting = "has no tables yet" in error.what and is_starting(settings)
            if not (passing or starting) or waited > settings["database.busy_timeout_s"]:
                raise
            if waited > TELL_S and not told:
                told = True
                click.echo(f"waiting for the database: {error.what}", err=True)
        time.sleep(PAUSE_S)


def _open(settings: Settings) -> Database:
    url, timeout = settings.database_url, settings["database.busy_timeout_s"]
    if settings.is_sqlite and not _sqlite_path(settings).exists():
        raise Unreachable(
            f"the database ({url}) has no tables yet", remedy="Start `dagd up`, or run `dagd db migrate`."
        )
    try:
        database = open_database(url, busy_timeout_s=timeout)
    except CannotOpen as error:
        remedy = "DAGD_DATABASE_URL is sqlite:///path or postgresql://user@host/database."
        raise Unreachable(f"the database cannot be opened: {first_line(str(error))}", remedy=remedy) from error
    try:
        check_schema(database)
    except DatabaseProblem as error:
        database.close()
        raise unreachable(database, error) from error
    except BaseException:
        database.close()
        raise
    return database


def known_pools(settings: Settings) -> dict[str, int | None] | None:
    """The pools of the deployment with their slots; None when its database is not there or not reached at once."""
    values = {**settings.values, "database.busy_timeout_s": min(2.0, settings["database.busy_timeout_s"])}
    try:
        database = _open(Settings(values))
    except DagdError:
        return None
    try:
        with database.read() as connection:
            return {row.name: row.slots for row in reads.pools(connection)}
    except DagdError:
        return None
    except DatabaseProblem:
        return None
    finally:
        database.close()


def _sqlite_path(settings: Settings) -> Path:
    return Path(settings.database_url.removeprefix("sqlite:///"))


def look(database: Database, query: Callable[[Any], T]) -> T:
    """Read while waiting for something: a database that restarts meanwhile is waited for. Raises Unreachable."""

    def once() -> T:
        try:
            with database.read() as connection:
                return query(connection)
        except DatabaseProblem as error:
            raise unreachable(database, error) from error

    return patiently(load(), once)


def is_starting(settings: Settings) -> bool:
    """Whether somebody is about to make the tables: the embedded database's file is there and still without content."""
    if not settings.is_sqlite:
        return False
    path = _sqlite_path(settings)
    try:
        return path.stat().st_size == 0 or path.with_name(f"{path.name}-wal").exists()
    except OSError:
        return False
