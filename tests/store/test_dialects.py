"""Oddities of the two databases, opening them, and bringing them to this release's schema."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from sqlalchemy import Connection, event, func, insert, inspect, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError, ProgrammingError

from dagd.model.errors import SchemaMismatch, Unreachable
from dagd.store import database as databases
from dagd.store import dialects, migrate
from dagd.store.database import Database, open_database
from dagd.store.schema import metadata, pool, shard, variable
from tests import factories as make


def test_the_databases_clock_is_now_in_microseconds(connection: Connection) -> None:
    here = time.time_ns() // 1000
    there = dialects.clock(connection)
    assert abs(there - here) < 5_000_000
    assert dialects.clock(connection) >= there


def test_the_clock_does_not_stand_still_in_a_transaction(database: Database) -> None:
    if database.is_sqlite:
        return  # its clock is of milliseconds, and of the statement
    with database.write() as connection:
        assert len({dialects.clock(connection) for _ in range(3)}) == 3


def test_an_insert_that_conflicts_is_ignored_or_replaces(connection: Connection) -> None:
    for value, inserted in (("1", "k"), ("2", None)):
        statement = dialects.insert_ignore(connection, variable).values(key="k", value=value)
        assert connection.execute(statement.returning(variable.c.key)).scalar() == inserted
    put = dialects.upsert(connection, variable, ["key"], ["value"])
    connection.execute(put, {"key": "k", "value": "3", "description": "new"})
    connection.execute(put, {"key": "l", "value": "4", "description": "d"})
    rows = connection.execute(select(variable).order_by(variable.c.key)).all()
    assert [tuple(row) for row in rows] == [("k", "3", None), ("l", "4", "d")]


def test_a_new_row_tells_its_key(connection: Connection) -> None:
    keys = [databases.new_key(connection.execute(insert(pool).values(name=name, slots=1))) for name in ("a", "b")]
    assert keys[0] < keys[1]
    assert connection.execute(select(pool.c.name).where(pool.c.id == keys[1])).scalar_one() == "b"


def test_a_change_by_another_connection_is_seen_on_sqlite(sqlite_url: str) -> None:
    database = make.opened(sqlite_url)
    with database.engine.connect() as watcher:
        first = dialects.data_version(watcher)
        assert dialects.data_version(watcher) == first
        with database.write() as connection:
            connection.execute(insert(variable).values(key="k", value="1"))
        watcher.rollback()
        assert dialects.data_version(watcher) != first
    database.close()


def test_postgres_has_no_such_number_and_locks_rows(postgres_url: str) -> None:
    database = make.opened(postgres_url)
    with database.read() as connection:
        assert dialects.data_version(connection) is None
        assert dialects.for_update(connection) == " FOR UPDATE"
    database.close()


def test_sqlite_keeps_what_it_acknowledged(sqlite_url: str) -> None:
    database = make.opened(sqlite_url)
    with database.read() as connection:
        assert dialects.for_update(connection) == ""
        assert connection.execute(text("PRAGMA journal_mode")).scalar_one() == "wal"
        assert connection.execute(text("PRAGMA synchronous")).scalar_one() == 2
    database.close()


def test_a_writer_on_sqlite_has_the_lock_from_its_beginning(sqlite_url: str) -> None:
    one, two = make.opened(sqlite_url), open_database(sqlite_url, busy_timeout_s=0.05)
    with one.write(), pytest.raises(OperationalError, match="locked") as caught, two.write():
        pass
    assert dialects.is_disconnect(caught.value)
    with one.write(), two.read() as connection:
        assert connection.execute(select(func.count()).select_from(shard)).scalar_one() == 64
    one.close()
    two.close()


def test_a_refused_statement_is_no_lost_connection(connection: Connection) -> None:
    for statement in ("SELEC 1", "SELECT * FROM nowhere"):
        with pytest.raises(DBAPIError) as caught, connection.begin_nested():
            connection.execute(text(statement))
        assert not dialects.is_disconnect(caught.value)
        assert isinstance(caught.value, OperationalError | ProgrammingError)
    with pytest.raises(IntegrityError) as conflict, connection.begin_nested():
        connection.execute(text("INSERT INTO shard (id) VALUES (1)"))
    assert not dialects.is_disconnect(conflict.value)


def test_two_that_conflict_in_a_deadlock_have_not_lost_their_database(postgres_url: str) -> None:
    """A deadlock is ended by the server within a second; it is no reason to drop the connection, and is tried again."""
    database = make.opened(postgres_url)
    with database.write() as connection:
        connection.execute(insert(variable), [{"key": key, "value": "0"} for key in "ab"])
    gate, found = threading.Barrier(2), []
    change = text("UPDATE variable SET value = value || '1' WHERE key = :key")

    def act(keys: str) -> None:
        try:
            with database.write() as connection:
                connection.execute(change, {"key": keys[0]})
                gate.wait(10)
                connection.execute(change, {"key": keys[1]})
        except OperationalError as error:
            found.append(error)

    threads = [threading.Thread(target=act, args=(keys,)) for keys in ("ab", "ba")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(found) == 1
    assert not found[0].connection_invalidated
    database.close()


def test_a_read_begins_only_when_someone_looks(database: Database) -> None:
    begun: list[int] = []
    event.listen(database.engine, "begin", lambda _connection: begun.append(1))
    with database.lazy_read() as read:
        assert begun == []
        assert read.connection is read.connection
    assert begun == [1]


def test_what_is_told_of_a_database_holds_no_password() -> None:
    database = open_database("postgresql+psycopg://ann:hunter2@127.0.0.1:1/db", busy_timeout_s=2)
    assert database.describe() == "postgres 127.0.0.1/db"
    for opened in (database.write, database.read):
        with pytest.raises(Unreachable) as caught, opened():
            pass
        assert "hunter2" not in str(caught.value)
    with pytest.raises(Unreachable):
        database.writer()
    assert "hunter2" not in str(databases.unreachable(database, ValueError("no")))
    assert database.path is None
    database.close()


def test_a_new_sqlite_file_is_private(tmp_path: Path) -> None:
    path = tmp_path / "home" / "dagd.db"
    database = open_database(f"sqlite:///{path}")
    with database.write() as connection:
        connection.execute(text("CREATE TABLE t (x)"))
    assert (path.stat().st_mode & 0o077, path.parent.stat().st_mode & 0o077) == (0, 0)
    assert database.path == path
    assert database.describe() == "sqlite dagd.db"
    database.close()


def test_preparing_sqlite_is_for_its_own_transactions(sqlite_url: str) -> None:
    """The listeners of `prepare_sqlite` begin each transaction; a read never takes the writer's lock."""
    assert callable(dialects.prepare_sqlite)
    database = make.opened(sqlite_url)
    with database.read(), database.read(), database.write() as connection:
        connection.execute(insert(variable).values(key="k", value="1"))
    database.close()


# --- the schema ------------------------------------------------------------------------------------------------------


def test_a_database_without_tables_is_told_from_an_old_one(empty_database_url: str) -> None:
    database = make.opened(empty_database_url)
    with pytest.raises(Unreachable, match="has no tables yet"):
        migrate.check_schema(database)
    with database.read() as connection:
        assert migrate.current_revision(connection) is None
    assert migrate.migrate(database) == (None, migrate.HEAD)
    migrate.check_schema(database)
    with database.read() as connection:
        assert migrate.current_revision(connection) == migrate.HEAD
        assert connection.execute(select(func.count()).select_from(shard)).scalar_one() == migrate.SHARDS
        assert connection.execute(select(pool.c.name, pool.c.slots)).all() == [("default_pool", 128)]
    for revision, relation in (("9999", "newer"), ("0000", "older")):
        with database.write() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = :found"), {"found": revision})
        with pytest.raises(SchemaMismatch, match=f"schema {revision}, {relation} than {migrate.HEAD}"):
            migrate.check_schema(database)
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(SchemaMismatch, match="newer"):
        migrate.migrate(database)
    database.close()


def test_a_database_whose_version_is_lost_is_not_taken_for_a_good_one(empty_database_url: str) -> None:
    database = make.opened(empty_database_url)
    migrate.migrate(database)
    with database.write() as connection:
        connection.execute(text("DELETE FROM alembic_version"))
    with pytest.raises(Unreachable, match="has no tables yet"):
        migrate.check_schema(database)
    database.close()


def test_tables_that_are_there_are_not_made_again(empty_database_url: str) -> None:
    database = make.opened(empty_database_url)
    with database.write() as connection:
        migrate.create(connection)
        assert migrate.current_revision(connection) == migrate.HEAD
    with pytest.raises(DBAPIError, match="already exists"), database.write() as connection:
        migrate.create(connection)
    assert migrate.migrate(database) == (migrate.HEAD, migrate.HEAD)
    database.close()


def test_two_that_migrate_at_once_make_one_schema(empty_database_url: str) -> None:
    opened = [make.opened(empty_database_url) for _ in range(2)]
    errors: list[Exception] = []

    def act(database: Database) -> None:
        try:
            migrate.migrate(database)
        except Exception as error:
            errors.append(error)

    first = threading.Thread(target=act, args=(opened[0],))
    first.start()
    act(opened[1])
    first.join(60)
    assert errors == []
    with opened[0].read() as connection:
        assert set(metadata.tables) < set(inspect(connection).get_table_names())
    for database in opened:
        database.close()


def test_the_migrations_are_where_the_package_says() -> None:
    assert (migrate.migrations_folder() / "env.py").is_file()
