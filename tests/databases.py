"""Fresh databases for tests: migrated once a session, then copied, which is much faster than migrating each."""

from __future__ import annotations

from dagd.store import migrate as store_migrate
from dagd.store.database import open_database


def migrate(url: str) -> None:
    """Bring the database at `url` to the newest schema, with the rows that every database has."""
    database = open_database(url, pooled=False)
    try:
        store_migrate.migrate(database)
    finally:
        database.close()
