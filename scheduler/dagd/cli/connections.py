"""`dagd connections list | get | set | delete | import | export`: encrypted at rest, secrets shown as ***."""

from __future__ import annotations

import json
from typing import Any

import click

from dagd.cli.connection_form import from_parts, from_uri, masked
from dagd.cli.context import confirm, destructive, is_sayable, limit_option, new_id, settings, storable
from dagd.cli.opening import opened
from dagd.cli.output import Column, Output, with_output
from dagd.cli.variables import read_file
from dagd.model.errors import NotFound, Refused, UsageError, did_you_mean
from dagd.model.settings import Settings
from dagd.store import catalog, requests
from dagd.store.secrets import Sealer, open_sealer

COLUMNS = [
    Column("conn_id", "id"), Column("conn_type", "type"), Column("host", "host"), Column("port", "port"),
    Column("schema", "schema"), Column("login", "login"), Column("password", "password", wide=True),
    Column("extra", "extra", wide=True), Column("description", "description"),
]  # fmt: skip


def sealer_of(known: Settings) -> Sealer:
    """What seals and unseals connections. Raises InvalidSettings."""
    return open_sealer(known.home, known["secrets.connection_key"])


def shown(row: Any, sealer: Sealer, *, reveal: bool = False) -> dict[str, Any]:
    """One connection's JSON."""
    body = json.loads(sealer.unseal(row.sealed))
    found = body if reveal else masked(body)
    return {"conn_id": row.id, **found, "description": row.description}


@click.command()
@limit_option
@with_output(watch=True)
def list_connections(out: Output, limit: int | None) -> None:
    """Connections, without their secrets."""
    known = settings()
    with opened(known) as database, database.read() as connection:
        found = catalog.connections(connection)[:limit]
        rows = [shown(row, sealer_of(known)) for row in found]
    out.rows(rows, COLUMNS, name="conn_id", empty="no connections")


def find(connection: Any, name: str) -> Any:
    """A connection. Raises NotFound with the nearest id."""
    row = catalog.connection_row(connection, name) if is_sayable(name) else None
    if row is None:
        known = [one.id for one in catalog.connections(connection)]
        raise NotFound(f"there is no connection {name!r}", remedy=did_you_mean(name, known))
    return row


@click.command()
@click.argument("conn_id", metavar="ID")
@click.option("--reveal", is_flag=True, help="Show its secrets; that is written to the audit log.")
@with_output()
def get_connection(out: Output, conn_id: str, reveal: bool) -> None:
    """One connection."""
    known = settings()
    with opened(known) as database:
        with database.read() as connection:
            row = find(connection, conn_id)
        if reveal:
            _tell_audit(database, "connections reveal", conn_id)
        found = shown(row, sealer_of(known), reveal=reveal)
    out.record(found, COLUMNS if not out.is_machine else None, name="conn_id")


def _tell_audit(database: Any, action: str, subject: str) -> None:
    with database.write() as connection:
        requests.write_audit(connection, requests.user_name(), action, subject)


@click.command()
@click.argument("conn_id", metavar="ID")
@click.option("--uri", help="All of it as type://login:password@host:port/schema?extra=...")
@click.option("--type", "conn_type", help="What it leads to: postgres, http, smtp...")
@click.option("--host")
@click.option("--port", type=click.IntRange(0, 65535))
@click.option("--login")
@click.option("--password")
@click.option("--schema")
@click.option("--extra", help="More of it, as JSON.")
@click.option("--description", help="What it is for.")
@with_output()
def set_connection(out: Output, conn_id: str, uri: str | None, description: str | None, **parts: Any) -> None:
    """Make or replace a connection."""
    known = settings()
    new_id(conn_id, "connection id")
    given = {name: value for name, value in parts.items() if value is not None}
    for name, value in {**given, "uri": uri or "", "description": description or ""}.items():
        storable(str(value), name)
    if uri is not None and given:
        raise UsageError("--uri says everything; it goes with no other part")
    if uri is None and not given:
        raise UsageError("a connection needs --uri or its parts", remedy="For example --type http --host example.org.")
    body = from_uri(uri) if uri is not None else from_parts(given)
    sealed = sealer_of(known).seal(json.dumps(body))
    with opened(known, create=True) as database, database.write() as connection:
        catalog.set_connection(connection, conn_id, sealed, description, requests.user_name())
    out.result({"conn_id": conn_id, **masked(body), "description": description}, f"{conn_id}: set", name="conn_id")


@click.command()
@click.argument("conn_id", metavar="ID")
@destructive
@with_output()
def delete_connection(out: Output, conn_id: str, yes: bool, dry_run: bool) -> None:
    """Remove a connection."""
    with opened() as database:
        with database.read() as connection:
            find(connection, conn_id)
        if dry_run:
            out.line(f"{conn_id} would be deleted")
            return
        confirm(f"Delete the connection {conn_id}", yes=yes)
        with database.write() as connection:
            catalog.delete_connection(connection, conn_id, requests.user_name())
    out.result({"conn_id": conn_id, "deleted": True}, f"{conn_id}: deleted", name="conn_id")


@click.command()
@click.argument("file", type=click.File("r", encoding="utf-8"))
def import_connections(file: Any) -> None:
    """Set connections from a JSON file: {"id": "uri"} or {"id": {"conn_type": ..., "host": ...}}."""
    known = settings()
    bodies: dict[str, dict[str, Any]] = {}
    for name, value in read_file(file).items():
        if not isinstance(value, (str, dict)):
            raise Refused(f"{file.name}: {name!r} is neither a URI nor an object")
        bodies[new_id(name, "connection id")] = from_uri(value) if isinstance(value, str) else from_parts(value)
    sealer = sealer_of(known)
    with opened(known, create=True) as database, database.write() as connection:
        for name, body in bodies.items():
            about = body.pop("description", None)
            catalog.set_connection(connection, name, sealer.seal(json.dumps(body)), about, requests.user_name())
    click.echo(f"{len(bodies)} connections set", err=True)


@click.command()
@click.argument("file", type=click.File("w", encoding="utf-8"), default="-")
@click.option("--reveal", is_flag=True, help="With their secrets; that is written to the audit log.")
def export_connections(file: Any, reveal: bool) -> None:
    """All connections as JSON, as `import` reads them; secrets are *** without --reveal."""
    known = settings()
    with opened(known) as database:
        with database.read() as connection:
            rows = catalog.connections(connection)
        if reveal:
            _tell_audit(database, "connections reveal", "*")
        sealer = sealer_of(known)
        table = {row.id: shown(row, sealer, reveal=reveal) for row in rows}
    for body in table.values():
        del body["conn_id"]
    file.write(json.dumps(table, indent=2, ensure_ascii=False) + "\n")
