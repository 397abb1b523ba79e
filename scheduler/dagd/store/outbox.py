"""The outbox: what is to be told outside, and how often that was tried."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, func, select, update

from dagd.store import dialects
from dagd.store.schema import outbox

CALLBACK = "callback"


def due(connection: Connection, limit: int) -> list[Row[Any]]:
    """Open rows whose time has come, callbacks apart, oldest first."""
    now = dialects.clock(connection)
    return list(
        connection.execute(
            select(outbox)
            .where(outbox.c.delivered_at.is_(None), outbox.c.next_at <= now, outbox.c.topic != CALLBACK)
            .order_by(outbox.c.id)
            .limit(limit)
        )
    )


def backlog(connection: Connection) -> tuple[int, float]:
    """How many rows are not delivered yet, and the age of the oldest in seconds."""
    statement = select(func.count(), func.min(outbox.c.created_at)).where(outbox.c.delivered_at.is_(None))
    count, oldest = connection.execute(statement).one()
    return int(count), 0.0 if oldest is None else max(0, dialects.clock(connection) - oldest) / 1_000_000


def open_callbacks(connection: Connection, limit: int, after: int = 0) -> list[Row[Any]]:
    """Callbacks that have not run yet, oldest first, behind the row `after`."""
    return list(
        connection.execute(
            select(outbox)
            .where(outbox.c.delivered_at.is_(None), outbox.c.topic == CALLBACK, outbox.c.id > after)
            .order_by(outbox.c.id)
            .limit(limit)
        )
    )


def close(connection: Connection, row_id: int, error: str | None, pause_us: int) -> None:
    """Delivered, or tried in vain and due again after the pause."""
    now = dialects.clock(connection)
    values: dict[str, Any] = {"tries": outbox.c.tries + 1, "error": error}
    if error is None:
        values["delivered_at"] = now
    else:
        values["next_at"] = now + pause_us
    connection.execute(update(outbox).where(outbox.c.id == row_id).values(**values))


def close_callback(connection: Connection, row_id: int, tried: int, error: str | None, *, give_up: bool) -> None:
    """A callback's launch number `tried` ended: delivered, or failed and (unless given up) open for another try.
    The result of a launch counts once, however often it is told."""
    values: dict[str, Any] = {"tries": outbox.c.tries + 1, "error": error}
    if error is None or give_up:
        values["delivered_at"] = dialects.clock(connection)
    still = (outbox.c.id == row_id, outbox.c.tries == tried, outbox.c.delivered_at.is_(None))
    connection.execute(update(outbox).where(*still).values(**values))
