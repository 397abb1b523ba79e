"""`dagd doctor`: the usual mistakes, looked for one by one."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from dagd.cli.context import settings
from dagd.cli.opening import opened
from dagd.cli.output import Column, Output, with_output
from dagd.cli.pools import pool_rows
from dagd.cli.status import read_health
from dagd.model.errors import DagdError, InvalidSettings
from dagd.model.settings import Settings
from dagd.store import reads, upkeep

Finding = tuple[str, str, str]  # state, what, remedy
COLUMNS = [Column("state", "state", "state"), Column("what", "what"), Column("remedy", "what to do")]


@click.command()
@with_output()
@click.pass_context
def doctor(ctx: click.Context, out: Output) -> None:
    """Look for the usual mistakes; exit 1 when something is wrong."""
    found = [*_all()]
    rows = [{"state": state, "what": what, "remedy": remedy or None} for state, what, remedy in found]
    out.rows(rows, COLUMNS, name="what")
    out.flush()
    if any(row["state"] == "error" for row in rows):
        ctx.exit(1)


def _all() -> Iterator[Finding]:
    try:
        known = settings()
    except InvalidSettings as error:
        for line in error.what.splitlines():
            yield "error", line, "dagd config check"
        return
    yield "ok", "the settings can be read", ""
    yield from _folders(known)
    try:
        with opened(known) as database, database.read() as connection:
            yield "ok", f"the database ({database.describe()}) is there and at the right schema", ""
            for line in upkeep.problems(database, connection):
                yield "error", f"database: {line}", "dagd db check"
            yield from _contents(connection, known)
    except DagdError as error:
        yield "error", error.what, error.remedy or ""


def _folders(known: Settings) -> Iterator[Finding]:
    folder = known.dags_folder
    if not folder.is_dir():
        yield "error", f"the DAG folder {folder} does not exist", "dagd init, or set core.dags_folder"
    elif not os.access(folder, os.R_OK | os.X_OK):
        yield "error", f"the DAG folder {folder} cannot be read", f"chmod u+rx {folder}"
    else:
        yield "ok", f"the DAG folder is {folder}", ""
    if known.home.exists():
        yield from _privacy(known.home)
        free = os.statvfs(known.home)
        if free.f_bavail * free.f_frsize < 200 << 20:
            yield "warning", f"less than 200 MB are free in {known.home}", "make room"
    if sys.platform != "linux":
        yield "warning", "only Linux has fork grade and kill trees", "tasks run in spawned processes"


def _privacy(home: Path) -> Iterator[Finding]:
    loose = [path for path in (home, home / "keys", home / "dagd.db") if path.exists() and _is_open(path)]
    for path in loose:
        yield "warning", f"{path} can be read by others", f"chmod go-rwx {path}"
    if not loose:
        yield "ok", f"{home} is private", ""


def _is_open(path: Path) -> bool:
    return bool(stat.S_IMODE(path.stat().st_mode) & 0o077)


def _contents(connection: Any, known: Settings) -> Iterator[Finding]:
    for part in read_health(connection, known)["components"]:
        state = "ok" if part["ok"] else "warning"
        yield state, f"{part['name']}: {part['detail'] or 'alive'}", "" if part["ok"] else "dagd up"
    for row in reads.import_errors(connection):
        yield "error", f"{row.file}:{row.line or 1} cannot be imported", "dagd dags errors"
    for pool in pool_rows(connection):
        if pool.get("missing"):
            yield (
                "error",
                f"{pool['queued']} tasks wait for pool {pool['name']}, which is not there",
                (f"dagd pools set {pool['name']} SLOTS"),
            )
    for row in reads.dag_rows(connection).values():
        if row.held:
            yield "error", f"DAG {row.name} is held: {row.held}", f"dagd why {row.name}"
