"""Bringing a database to this release's schema, and knowing whether it is there (without Alembic)."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import DBAPIError

from dagd.model.errors import SchemaMismatch, Unreachable
from dagd.store.database import Database, unreachable
from dagd.store.guards import guard_audit
from dagd.store.schema import metadata

HEAD = "0004"
SHARDS = 64
DEFAULT_POOL_SLOTS = 128


def migrations_folder() -> Path:
    """The folder of the migrations: inside the installed package, or at the root of a checkout."""
    packaged = Path(__file__).parent.parent / "migrations"
    return packaged if packaged.is_dir() else Path(__file__).parents[3] / "migrations"


def current_revision(connection: Connection) -> str | None:
    """The revision of the database, None for one without our tables."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()


def check_schema(database: Database) -> None:
    """Raise SchemaMismatch unless the database has exactly this release's schema."""
    try:
        with database.read() as connection:
            found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    except DBAPIError as error:
        words = str(error.orig).lower()
        if "no such table" in words or ("does not exist" in words and "alembic_version" in words):
            found = None
        else:
            raise unreachable(database, error) from error
    if found is None:
        raise Unreachable(
            f"the database ({database.describe()}) has no tables yet",
            remedy="Start `dagd up`, or run `dagd db migrate`.",
        )
    if found != HEAD:
        relation = "newer" if found > HEAD else "older"
        raise SchemaMismatch(f"the database is at schema {found}, {relation} than {HEAD} of this release")


def migrate(database: Database) -> tuple[str | None, str]:
    """Bring a database to HEAD in one transaction; returns the revisions before and after. Raises SchemaMismatch."""
    with database.write() as connection:
        if not database.is_sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock(20261125)"))
        before = current_revision(connection)
        if before == HEAD:
            return before, HEAD
        if before is not None and before > HEAD:
            raise SchemaMismatch(f"the database is at schema {before}, newer than {HEAD} of this release")
        if before is None:
            create(connection)
        else:
            upgrade(connection)
        _seed(connection)
    return before, HEAD


def create(connection: Connection) -> None:
    """All tables of HEAD at once. A test holds that this equals `upgrade` from nothing; it spares importing Alembic."""
    metadata.create_all(connection, checkfirst=False)
    guard_audit(connection)
    connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"))
    connection.execute(text("INSERT INTO alembic_version (version_num) VALUES (:head)"), {"head": HEAD})


def upgrade(connection: Connection) -> None:
    """Run the migrations that the database lacks, in the caller's transaction."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(migrations_folder()))
    config.attributes["connection"] = connection
    command.upgrade(config, HEAD)


def _seed(connection: Connection) -> None:
    """Rows that every database has: the shards and the default pool."""
    for shard in range(SHARDS):
        connection.execute(text("INSERT INTO shard (id) VALUES (:id) ON CONFLICT DO NOTHING"), {"id": shard})
    connection.execute(
        text(
            "INSERT INTO pool (name, slots, description) VALUES ('default_pool', :slots, :words) ON CONFLICT DO NOTHING"
        ),
        {"slots": DEFAULT_POOL_SLOTS, "words": "Tasks that name no pool"},
    )
