"""A fresh schema equals a migrated one, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text

from dagd.store import migrate
from dagd.store.database import Database
from dagd.store.schema import metadata
from tests import factories as make


@pytest.fixture(params=["sqlite", "postgres"])
def migrated(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A database that went through every migration."""
    if request.param == "sqlite":
        found = make.opened(f"sqlite:///{tmp_path / 'migrated.db'}")
    else:
        found = make.opened(request.getfixturevalue("empty_postgres_url"))
    with found.write() as connection:
        migrate.upgrade(connection)
    yield found
    found.close()


@pytest.fixture
def fresh(migrated: Database, request: pytest.FixtureRequest) -> Iterator[Database]:
    """A database of the same kind that was created at once."""
    found = make.opened(request.getfixturevalue("sqlite_url" if migrated.is_sqlite else "postgres_url"))
    yield found
    found.close()


def test_the_migrated_schema_has_nothing_that_the_tables_lack_and_lacks_nothing(migrated: Database) -> None:
    with migrated.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_a_fresh_schema_has_the_checks_and_indices_of_a_migrated_one(migrated: Database, fresh: Database) -> None:
    assert shape_of(fresh) == shape_of(migrated)


def test_a_fresh_schema_has_the_triggers_of_a_migrated_one(migrated: Database, fresh: Database) -> None:
    assert triggers_of(fresh) == triggers_of(migrated) != []


def triggers_of(database: Database) -> list[str]:
    """The text of every trigger, and on Postgres of the functions that they call."""
    if database.is_sqlite:
        statement = "SELECT sql FROM sqlite_master WHERE type = 'trigger' ORDER BY name"
    else:
        statement = (
            "SELECT pg_get_triggerdef(t.oid) || p.prosrc FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid"
            " WHERE NOT t.tgisinternal ORDER BY t.tgname"
        )
    with database.read() as connection:
        return [" ".join(row[0].split()) for row in connection.execute(text(statement))]


def shape_of(database: Database) -> dict[str, Any]:
    """Checks, indices, unique constraints and keys of every table, Alembic's own too."""
    with database.read() as connection:
        look = inspect(connection)
        return {
            name: (
                sorted(str(one["sqltext"]) for one in look.get_check_constraints(name)),
                sorted((one["name"] or "", tuple(one["column_names"])) for one in look.get_indexes(name)),
                sorted(tuple(one["column_names"]) for one in look.get_unique_constraints(name)),
                look.get_pk_constraint(name)["constrained_columns"],
                [(one["name"], str(one["type"]), one["nullable"]) for one in look.get_columns(name)],
            )
            for name in [*metadata.tables, "alembic_version"]
        }


def test_head_is_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(migrate.migrations_folder()))
    assert ScriptDirectory.from_config(config).get_current_head() == migrate.HEAD


def test_migrating_again_changes_nothing(database_url: str) -> None:
    database = make.opened(database_url)
    assert migrate.migrate(database) == (migrate.HEAD, migrate.HEAD)
    migrate.check_schema(database)
    database.close()
