"""`dagd variables list | get | set | delete | import | export`."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from dagd.cli.context import confirm, destructive, is_sayable, limit_option, new_name, read_json, storable
from dagd.cli.opening import opened
from dagd.cli.output import Column, Output, with_output
from dagd.cli.text import escape_controls
from dagd.model.errors import NotFound, Refused, UsageError, did_you_mean
from dagd.store import catalog, requests

COLUMNS = [Column("key", "key"), Column("value", "value"), Column("description", "description")]


def shown(row: Any) -> dict[str, Any]:
    """One variable's JSON."""
    return {"key": row.key, "value": row.value, "description": row.description}


@click.command()
@limit_option
@with_output(watch=True)
def list_variables(out: Output, limit: int | None) -> None:
    """Variables and their values."""
    with opened() as database, database.read() as connection:
        rows = [shown(row) for row in catalog.variables(connection)]
    out.rows(rows[:limit], COLUMNS, name="key", empty="no variables")


def find(connection: Any, key: str) -> Any:
    """A variable. Raises NotFound with the nearest key."""
    row = catalog.variable_row(connection, key) if is_sayable(key) else None
    if row is None:
        known = [one.key for one in catalog.variables(connection)]
        raise NotFound(f"there is no variable {key!r}", remedy=did_you_mean(key, known))
    return row


@click.command()
@click.argument("key")
@with_output()
def get_variable(out: Output, key: str) -> None:
    """One variable; for a person its value alone."""
    with opened() as database, database.read() as connection:
        row = shown(find(connection, key))
    out.result(row, out.fit(escape_controls(row["value"], keep="\n\t")), name="key")


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("key")
@click.argument("value")
@click.option("--description", help="What it is for.")
@with_output()
def set_variable(out: Output, key: str, value: str, description: str | None) -> None:
    """Set a variable. VALUE is kept as the text that it is; `-` reads it from standard input."""
    new_name(key, "key")
    text = sys.stdin.read() if value == "-" else value
    storable(text, "the value")
    if description is not None:
        storable(description, "the description")
    with opened(create=True) as database, database.write() as connection:
        catalog.set_variable(connection, key, text, description, requests.user_name())
    out.result({"key": key, "value": text}, f"{key}: set", name="key")


@click.command()
@click.argument("key")
@destructive
@with_output()
def delete_variable(out: Output, key: str, yes: bool, dry_run: bool) -> None:
    """Remove a variable."""
    with opened() as database:
        with database.read() as connection:
            find(connection, key)
        if dry_run:
            out.line(f"{key} would be deleted")
            return
        confirm(f"Delete the variable {key}", yes=yes)
        with database.write() as connection:
            catalog.delete_variable(connection, key, requests.user_name())
    out.result({"key": key, "deleted": True}, f"{key}: deleted", name="key")


@click.command()
@click.argument("file", type=click.File("r", encoding="utf-8"))
def import_variables(file: Any) -> None:
    """Set variables from a JSON file: {"key": value}. Texts are kept as they are, other values as their JSON."""
    table = read_file(file)
    texts = {
        new_name(key, "key"): value if isinstance(value, str) else json.dumps(value) for key, value in table.items()
    }
    with opened(create=True) as database, database.write() as connection:
        for key, text in texts.items():
            catalog.set_variable(connection, key, text, None, requests.user_name())
    click.echo(f"{len(texts)} variables set", err=True)


def read_file(file: Any) -> dict[str, Any]:
    """A JSON object from an open file. Raises UsageError, Refused."""
    try:
        text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file.name} cannot be read: {error}") from error
    table = read_json(text, file.name)
    if not isinstance(table, dict):
        raise Refused(f"{file.name} is no JSON object")
    return table


@click.command()
@click.argument("file", type=click.File("w", encoding="utf-8"), default="-")
def export_variables(file: Any) -> None:
    """All variables as JSON: {"key": value}."""
    with opened() as database, database.read() as connection:
        table = {row.key: row.value for row in catalog.variables(connection)}
    file.write(json.dumps(table, indent=2, ensure_ascii=False) + "\n")
