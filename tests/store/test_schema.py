"""A fresh schema equals a migrated one, on both databases."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect

from dagd.store import migrate
from dagd.store.schema import metadata
from tests import factories as make


def test_the_migrated_schema_has_nothing_that_the_tables_lack_and_lacks_nothing(database_url: str) -> None:
    database = make.opened(database_url)
    with database.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    database.close()


@pytest.mark.parametrize("dialect", ["sqlite", "postgres"])
def test_a_fresh_schema_has_the_checks_and_indices_of_a_migrated_one(
    dialect: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    if dialect == "sqlite":
        fresh = make.opened(f"sqlite:///{tmp_path / 'fresh.db'}")
    else:
        fresh = make.opened(request.getfixturevalue("empty_postgres_url"))
    migrated = make.opened(request.getfixturevalue(f"{dialect}_url"))
    with fresh.write() as connection:
        metadata.create_all(connection)
    shapes = []
    for database in (fresh, migrated):
        with database.read() as connection:
            look = inspect(connection)
            shapes.append(
                {
                    name: (
                        sorted(str(one["sqltext"]) for one in look.get_check_constraints(name)),
                        sorted((one["name"] or "", tuple(one["column_names"])) for one in look.get_indexes(name)),
                        sorted(tuple(one["column_names"]) for one in look.get_unique_constraints(name)),
                        look.get_pk_constraint(name)["constrained_columns"],
                    )
                    for name in metadata.tables
                }
            )
        database.close()
    assert shapes[0] == shapes[1]


def test_head_is_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(migrate.migrations_folder()))
    assert ScriptDirectory.from_config(config).get_current_head() == migrate.HEAD


def test_migrating_again_changes_nothing(database_url: str) -> None:
    database = make.opened(database_url)
    assert migrate.migrate(database) == (migrate.HEAD, migrate.HEAD)
    migrate.check_schema(database)
    database.close()
