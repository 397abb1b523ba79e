"""Run migrations on the connection that the store hands over; dagd opens no second one and reads no alembic.ini.

Migrations go forward only, and only add (docs/adr/0005).
"""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection

from dagd.store.schema import metadata


def run(connection: Connection) -> None:
    """Bring the database of `connection` to the revision that was asked for, in the caller's transaction."""
    context.configure(
        connection=connection,
        target_metadata=metadata,
        compare_type=True,
        compare_server_default=True,
        render_as_batch=connection.dialect.name == "sqlite",
        transaction_per_migration=False,
    )
    with context.begin_transaction():
        context.run_migrations()


run(context.config.attributes["connection"])
