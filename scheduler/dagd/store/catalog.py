"""Facts that the command line writes: pauses, pools, variables, connections, each with its audit row at once.

Decisions only read these; nothing here needs the scheduler.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from dagd.store import dialects
from dagd.store.requests import write_audit
from dagd.store.schema import audit, dag, pool, variable
from dagd.store.schema import connection as connection_table
from dagd.store.secrets import Sealer

DEFAULT_POOL = "default_pool"


def set_paused(connection: Connection, dag_id: int, name: str, paused: bool, actor: str) -> bool:
    """Pause or unpause a DAG; False when it was so already. Unpausing sets the instant before which no slot runs."""
    values: dict[str, Any] = {"paused": paused}
    if not paused:
        values["unpaused_at"] = dialects.clock(connection)
    statement = update(dag).where(dag.c.id == dag_id, dag.c.paused.is_(not paused)).values(**values)
    if not connection.execute(statement).rowcount:
        return False
    write_audit(connection, actor, "pause" if paused else "unpause", name)
    return True


def set_pool(connection: Connection, name: str, slots: int, description: str | None, actor: str) -> bool:
    """Make a pool or change it; True when it is new. Without a description the old one stays."""
    row = connection.execute(select(pool).where(pool.c.name == name)).first()
    if row is None:
        connection.execute(insert(pool).values(name=name, slots=slots, description=description))
    else:
        kept = row.description if description is None else description
        connection.execute(update(pool).where(pool.c.name == name).values(slots=slots, description=kept))
    write_audit(connection, actor, "pools set", name, f"{slots} slots")
    return row is None


def delete_pool(connection: Connection, name: str, actor: str) -> bool:
    """Remove a pool; False when there is none."""
    return _delete(connection, pool, pool.c.name, name, "pools delete", actor)


def variables(connection: Connection) -> list[Row[Any]]:
    """Every variable by key."""
    return list(connection.execute(select(variable).order_by(variable.c.key)))


def variable_row(connection: Connection, key: str) -> Row[Any] | None:
    """One variable."""
    return connection.execute(select(variable).where(variable.c.key == key)).first()


def set_variable(connection: Connection, key: str, value: str, description: str | None, actor: str) -> None:
    """Set a variable. Without a description the old one stays. The audit log does not hold the value."""
    values = {"key": key, "value": value} | ({} if description is None else {"description": description})
    statement = dialects.upsert(connection, variable, ["key"], [name for name in values if name != "key"])
    connection.execute(statement, values)
    write_audit(connection, actor, "variables set", key)


def delete_variable(connection: Connection, key: str, actor: str) -> bool:
    """Remove a variable; False when there is none."""
    return _delete(connection, variable, variable.c.key, key, "variables delete", actor)


def connections(connection: Connection) -> list[Row[Any]]:
    """Every connection by id, sealed."""
    return list(connection.execute(select(connection_table).order_by(connection_table.c.id)))


def connection_row(connection: Connection, name: str) -> Row[Any] | None:
    """One connection, sealed."""
    return connection.execute(select(connection_table).where(connection_table.c.id == name)).first()


def set_connection(connection: Connection, name: str, sealed: str, description: str | None, actor: str) -> None:
    """Make or replace a connection."""
    statement = dialects.upsert(connection, connection_table, ["id"], ["sealed", "description"])
    connection.execute(statement, {"id": name, "sealed": sealed, "description": description})
    write_audit(connection, actor, "connections set", name)


def reseal_connections(connection: Connection, sealer: Sealer, after: str, limit: int, actor: str) -> tuple[str, int]:
    """Seal some connections (by id, those after one) with the newest key; the last id looked at, empty at the end, and
    how many were sealed anew, which the audit log is told. Raises DagdError for one that no key opens."""
    table = connection_table
    found = connection.execute(select(table).where(table.c.id > after).order_by(table.c.id).limit(limit)).all()
    changed = 0
    for row in found:
        sealed = sealer.reseal(row.sealed)
        if sealed is not None:
            same = (table.c.id == row.id) & (table.c.sealed == row.sealed)
            changed += connection.execute(update(table).where(same).values(sealed=sealed)).rowcount
    if changed:
        write_audit(connection, actor, "connections rotate-key", "*", f"{changed} sealed with the newest key")
    return (found[-1].id if len(found) == limit else ""), changed


def delete_connection(connection: Connection, name: str, actor: str) -> bool:
    """Remove a connection; False when there is none."""
    return _delete(connection, connection_table, connection_table.c.id, name, "connections delete", actor)


def _delete(connection: Connection, table: Any, column: Any, name: str, action: str, actor: str) -> bool:
    found = connection.execute(delete(table).where(column == name)).rowcount
    if found:
        write_audit(connection, actor, action, name)
    return bool(found)


def acknowledged(connection: Connection) -> dict[str, int]:
    """When each deadline (by its reference and kind) was last noted as seen."""
    rows = connection.execute(
        select(audit.c.subject, audit.c.at).where(audit.c.action == "deadlines ack").order_by(audit.c.id)
    )
    return {row.subject: row.at for row in rows}
