"""`python -m dagd.engine.migration`: bring the database up to date, in a process that then gives its memory back."""

from __future__ import annotations

import sys

from dagd.model.errors import DagdError
from dagd.model.settings import Settings, load_settings
from dagd.observe.private import keep_private
from dagd.store.database import open_database
from dagd.store.migrate import migrate


def migrate_database(settings: Settings) -> str:
    """Migrate; returns what a person is told. Raises DagdError."""
    settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    database = open_database(settings.database_url, busy_timeout_s=settings["database.busy_timeout_s"])
    try:
        before, after = migrate(database)
        verb = f"at {after}" if before == after else f"migrated to {after}"
        return f"{database.describe()} ({verb})"
    finally:
        database.close()


def main() -> None:
    """Migrate by the settings of the environment; exit 5 with the error's words."""
    keep_private()
    try:
        sys.stdout.write(migrate_database(load_settings()) + "\n")
    except DagdError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(5) from error


if __name__ == "__main__":
    main()
