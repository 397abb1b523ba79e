"""One Postgres database for the whole suite, emptied before each test: much faster than a copy for each."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from sqlalchemy import Connection

from dagd.store import migrate as store_migrate
from dagd.store.database import Database
from dagd.store.schema import metadata
from tests import factories
from tests.databases import migrate
from tests.postgres import Server, conninfo

TABLES = ", ".join(sorted(metadata.tables))
OTHERS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> %s"


@pytest.fixture(scope="session")
def emptied_postgres(postgres_server: Server) -> Iterator[tuple[str, psycopg.Connection]]:
    """A migrated database and a connection that empties it. Tests that change its schema use one of their own."""
    with postgres_server.database() as url:
        migrate(url)
        with psycopg.connect(conninfo(url), autocommit=True) as connection:
            yield url, connection


@pytest.fixture
def postgres_url(emptied_postgres: tuple[str, psycopg.Connection]) -> str:
    """As everywhere, a migrated Postgres database without rows of other tests."""
    url, connection = emptied_postgres
    connection.execute(OTHERS, [connection.info.backend_pid])
    connection.execute("ALTER TABLE audit DISABLE TRIGGER USER")  # it is append-only
    connection.execute(f"TRUNCATE {TABLES} RESTART IDENTITY")
    connection.execute("ALTER TABLE audit ENABLE TRIGGER USER")
    connection.execute("INSERT INTO shard (id) SELECT generate_series(0, %s)", [store_migrate.SHARDS - 1])
    slots = store_migrate.DEFAULT_POOL_SLOTS
    connection.execute("INSERT INTO pool (name, slots) VALUES ('default_pool', %s)", [slots])
    return url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """An open database; the test runs on both."""
    opened = factories.opened(database_url)
    yield opened
    opened.close()


@pytest.fixture
def connection(database: Database) -> Iterator[Connection]:
    """One write transaction for the whole test."""
    with database.write() as opened:
        yield opened
