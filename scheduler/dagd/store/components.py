"""Heartbeats of parts that are no schedulers, and the one fact that the parser may ask for."""

from __future__ import annotations

from sqlalchemy import Connection, select

from dagd.store import dialects
from dagd.store.schema import component, variable


def beat(connection: Connection, name: str, host: str, pid: int, detail: str) -> None:
    """This part is alive."""
    statement = dialects.upsert(connection, component, ["name", "host"], ["pid", "heartbeat", "detail"])
    now = dialects.clock(connection)
    connection.execute(statement, {"name": name, "host": host, "pid": pid, "heartbeat": now, "detail": detail})


def variable_value(connection: Connection, key: str) -> str | None:
    """A variable, for a DAG file that asks at parse."""
    return connection.execute(select(variable.c.value).where(variable.c.key == key)).scalar()
