"""The table of backfills: lazy ranges of slots, one row each. Inserted `queued` by whoever asks, moved by the owner."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Column, Index, Integer, SmallInteger, Table, Text, text

from dagd.model.states import BackfillState
from dagd.store.schema_base import Id, codes, metadata

backfill = Table(
    "backfill",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("dag_id", BigInteger, nullable=False),
    Column("state", SmallInteger, nullable=False),
    # Logical dates, both included; no slot that fell due after `created_at` is taken.
    Column("from_at", BigInteger, nullable=False),
    Column("to_at", BigInteger, nullable=False),
    # The slots up to here (down to here, in reverse) have been taken.
    Column("cursor", BigInteger, nullable=False),
    Column("is_reverse", Boolean, nullable=False),
    Column("max_active", Integer, nullable=False),
    Column("reprocess", SmallInteger, nullable=False),
    Column("conf", Text, nullable=False),
    # Counted when it was asked for.
    Column("slots", Integer, nullable=False),
    Column("existing", Integer, nullable=False),
    # Counted as its runs end: all, those that succeeded, those that failed, slots whose run was kept, time of runs.
    Column("done", Integer, nullable=False),
    Column("success", Integer, nullable=False),
    Column("failed", Integer, nullable=False),
    Column("kept", Integer, nullable=False),
    Column("spent_us", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("started_at", BigInteger),
    Column("ended_at", BigInteger),
    CheckConstraint(f"state IN ({codes(BackfillState)})", name="state"),
)
Index("ix_backfill_active", backfill.c.dag_id, sqlite_where=text("state < 10"), postgresql_where=text("state < 10"))
