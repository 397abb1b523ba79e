"""`dagd dags pause | unpause | delete | reparse`."""

from __future__ import annotations

import os
import shutil
from typing import Any

import click

from dagd.cli import refs
from dagd.cli.context import confirm, destructive, settings
from dagd.cli.opening import opened
from dagd.cli.output import Output, with_output
from dagd.engine.doorbell import ring_all
from dagd.model.errors import NotFound, Refused
from dagd.store import catalog, requests, upkeep


@click.command()
@click.argument("dags", nargs=-1, required=True, metavar="DAG...")
@with_output()
def pause(out: Output, dags: tuple[str, ...]) -> None:
    """Start no more runs of a DAG: no slot, no asset, no queued run. What runs goes on."""
    _set_paused(out, dags, True)


@click.command()
@click.argument("dags", nargs=-1, required=True, metavar="DAG...")
@with_output()
def unpause(out: Output, dags: tuple[str, ...]) -> None:
    """Start runs of a DAG again; slots that fell due while it was paused do not run, unless it catches up."""
    _set_paused(out, dags, False)


def _set_paused(out: Output, names: tuple[str, ...], paused: bool) -> None:
    known = settings()
    with opened(known) as database:
        with database.write() as connection:
            rows = [refs.find_dag(connection, refs.dag_alone(name)) for name in names]
            changed = [catalog.set_paused(connection, row.id, row.name, paused, requests.user_name()) for row in rows]
    ring_all(known.run_folder)
    word = "paused" if paused else "active"
    shown = [{"dag_id": row.name, "paused": paused, "changed": one} for row, one in zip(rows, changed, strict=True)]
    for row in shown:
        out.result(row, f"{row['dag_id']}: {out.state(word)}{'' if row['changed'] else ' already'}", name="dag_id")


@click.command()
@click.argument("dag")
@destructive
@with_output()
def delete(out: Output, dag: str, yes: bool, dry_run: bool) -> None:
    """Forget a DAG with its versions and runs. Its file must be gone: else it would come back at the next look."""
    known = settings()
    with opened(known) as database:
        with database.read() as connection:
            row = refs.find_dag(connection, refs.dag_alone(dag))
            active = upkeep.runs_of(connection, row.id, active=True)
            runs = upkeep.runs_of(connection, row.id)
        if row.missing_since is None and (known.dags_folder / row.file).exists():
            raise Refused(f"{row.file} still defines {row.name}", remedy="Remove the DAG from it first, or pause it.")
        if active:
            raise Refused(f"{row.name} has {len(active)} runs that have not ended", remedy="Cancel them first.")
        if dry_run:
            out.line(f"{row.name} would be deleted with {len(runs)} runs")
            return
        confirm(f"Delete {row.name} with {len(runs)} runs for good", yes=yes)
        deleted = upkeep.delete_runs(database, runs, _audit("runs delete", row.name, f"{len(runs)} runs"))
        with database.write() as connection:
            if upkeep.runs_of(connection, row.id):
                raise Refused(f"{row.name} has new runs meanwhile", remedy="Say it again.")
            _audit("dags delete", row.name, f"{deleted} runs")(connection)
            upkeep.delete_dag(connection, row.id)
    shutil.rmtree(known.log_folder / str(row.id), ignore_errors=True)
    ring_all(known.run_folder)
    out.result({"dag_id": row.name, "runs": deleted, "deleted": True}, f"{row.name}: deleted with {deleted} runs")


def _audit(action: str, subject: str, detail: str) -> Any:
    return lambda connection: requests.write_audit(connection, requests.user_name(), action, subject, detail)


@click.command()
@click.argument("dag")
@with_output()
def reparse(out: Output, dag: str) -> None:
    """Have a DAG's file read again: its modification time is set to now, which the processor sees within a second."""
    known = settings()
    with opened(known) as database, database.write() as connection:
        row = refs.find_dag(connection, refs.dag_alone(dag))
        _audit("dags reparse", row.name, row.file)(connection)
    path = known.dags_folder / row.file
    try:
        os.utime(path)
    except FileNotFoundError as error:
        raise NotFound(f"{path} is not there") from error
    except OSError as error:
        raise Refused(f"{path} cannot be touched: {error.strerror}") from error
    out.result({"dag_id": row.name, "file": row.file}, f"{row.name}: {row.file} will be read again", name="dag_id")
