"""What a deferred try waits for, and how long at most."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("attempt", sa.Column("waits_for", sa.Text(), nullable=True))
    op.add_column("attempt", sa.Column("gives_up_at", sa.BigInteger(), nullable=True))
