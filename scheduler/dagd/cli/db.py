"""`dagd db migrate | current | check | clean | backup | stats`."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import click

from dagd.cli.context import confirm, destructive, now_micros, settings
from dagd.cli.opening import opened, patiently
from dagd.cli.output import Column, Output, with_output
from dagd.cli.zones import read_age
from dagd.engine.migration import migrate_database
from dagd.model.errors import Refused, SchemaMismatch, Unreachable, UsageError
from dagd.model.times import iso
from dagd.store import reads, requests, upkeep
from dagd.store.migrate import HEAD

SIZES = [Column("name", "table"), Column("rows", "rows"), Column("bytes", "bytes")]


@click.command()
@click.option("--brief", is_flag=True, hidden=True)
@with_output()
def migrate(out: Output, brief: bool) -> None:
    """Bring the database to this release's schema; nothing happens when it is there."""
    known = settings()
    said = patiently(known, lambda: _migrate(known))
    out.result({"database": said, "revision": HEAD}, said if brief else f"db {said}")


def _migrate(known: Any) -> str:
    try:
        return migrate_database(known)
    except reads.DatabaseProblem as error:
        raise Unreachable(f"the database cannot be migrated: {getattr(error, 'orig', error)}") from error


@click.command()
@with_output()
def current(out: Output) -> None:
    """The schema that the database has, and the one that this release reads."""
    known = settings()
    revision: str | None = HEAD
    try:
        with opened(known) as database:
            place = database.describe()
    except SchemaMismatch as error:
        revision, place = error.what.partition("at schema ")[2].partition(",")[0], "the database"
    except Unreachable as error:
        if "no tables" not in error.what:
            raise
        revision, place = None, "the database"
    told = f"{place}: {revision or 'no tables yet'}" + ("" if revision == HEAD else f" (this release: {HEAD})")
    out.result({"database": place, "revision": revision, "head": HEAD, "ok": revision == HEAD}, told)


@click.command()
@with_output()
@click.pass_context
def check(ctx: click.Context, out: Output) -> None:
    """Whether the database is whole and at the right schema; exit 1 when it is not."""
    with opened() as database, database.read() as connection:
        place = database.describe()
        found = list(upkeep.problems(database, connection))
    told = "\n".join(found) if found else f"{place} at {HEAD}: whole"
    out.result({"ok": not found, "revision": HEAD, "problems": found}, told)
    out.flush()
    if found:
        ctx.exit(1)


@click.command()
@with_output()
def stats(out: Output) -> None:
    """Rows and bytes of each table."""
    with opened() as database, database.read() as connection:
        tables, size = upkeep.table_sizes(connection), upkeep.whole_size(database, connection)
    if out.is_machine and out.format not in {"plain", "name"}:
        out.record({"tables": tables, "size_bytes": size})
        return
    out.rows(tables, SIZES, name="name")
    if not out.is_machine:
        out.line(f"{size:,} bytes in all")


@click.command()
@click.argument("target", type=click.Path(dir_okay=False, path_type=Path))
@with_output()
def backup(out: Output, target: Path) -> None:
    """Copy the embedded database to TARGET while it is in use."""
    with opened() as database:
        try:
            size = upkeep.backup(database, target)
        except FileExistsError as error:
            raise Refused(f"{target} is there already", remedy="Choose another name, or remove it.") from error
        except OSError as error:
            raise UsageError(f"{target} cannot be written: {error.strerror}") from error
    out.result({"target": str(target), "bytes": size}, f"{target}: {size:,} bytes")


@click.command()
@click.option("--before", required=True, help="Runs that ended before this instant, or so long ago (30d).")
@click.option("--dag", help="Only runs of this DAG.")
@destructive
@with_output()
def clean(out: Output, before: str, dag: str | None, yes: bool, dry_run: bool) -> None:
    """Delete ended runs that are older than so many days, with their tries and values."""
    limit = read_age(before, now_micros())
    known = settings()
    with opened(known) as database:
        with database.read() as connection:
            row = None if dag is None else reads.dag_row(connection, dag)
            if dag is not None and row is None:
                raise Refused(f"there is no DAG {dag!r}")
            runs = upkeep.old_runs(connection, limit, None if row is None else row.id)
        told = f"{len(runs)} runs that ended before {iso(limit)}"
        if dry_run or not runs:
            out.result({"runs": len(runs), "deleted": 0}, f"{told} would be deleted")
            return
        confirm(f"Delete {told} for good", yes=yes)

        def tell(connection: Any) -> None:
            requests.write_audit(connection, requests.user_name(), "db clean", dag or "*", told)

        with database.read() as connection:
            folders = upkeep.log_folders(connection, runs)
        deleted = upkeep.delete_runs(database, runs, tell)
        with database.read() as connection:
            for kept in upkeep.log_folders(connection, runs):
                folders.remove(kept)
    for folder in folders:
        shutil.rmtree(known.log_folder / folder, ignore_errors=True)
    out.result({"runs": len(runs), "deleted": deleted}, f"{deleted} runs deleted")
