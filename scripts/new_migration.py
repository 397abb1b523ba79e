"""Write the next migration: the difference between the migrated schema and the one in dagd/store/schema.py.

Usage: new_migration.py "add pools". Read the file that it writes before you commit it: a renamed column looks like one
dropped and one added.
"""

from __future__ import annotations

import sys
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine

MIGRATIONS = Path(__file__).parent.parent / "migrations"


def main(message: str) -> None:
    """Compare on an SQLite database in memory, and write migrations/versions/NNNN_message.py."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    taken = [int(path.name[:4]) for path in MIGRATIONS.glob("versions/[0-9][0-9][0-9][0-9]_*.py")]
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        command.revision(config, message, autogenerate=True, rev_id=f"{max(taken, default=0) + 1:04d}")
    engine.dispose()


if __name__ == "__main__":
    main(sys.argv[1])
