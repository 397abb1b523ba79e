"""`dagd runs cancel | clear | mark | delete`."""

from __future__ import annotations

import shutil
from typing import Any

import click

from dagd.cli import selection, tasks_found
from dagd.cli.context import confirm, destructive, settings
from dagd.cli.opening import opened
from dagd.cli.output import Output, with_output
from dagd.cli.requesting import answer, request
from dagd.cli.tasks_change import tell_plan
from dagd.engine.loader import Graphs
from dagd.model.errors import Refused
from dagd.model.states import RunState
from dagd.store import requests, upkeep

MARKS = ("success", "failed")


@click.command()
@click.argument("run")
@destructive
@with_output()
def cancel(out: Output, run: str, yes: bool, dry_run: bool) -> None:
    """Stop a run: nothing of it starts any more, and what runs is ended. Returns when that is stored."""
    known = settings()
    with opened(known) as database:
        with database.read() as connection:
            _, dag, row = tasks_found.find_run(connection, run)
        name = f"{dag.name}/{row.run_id}"
        state = RunState(row.state)
        if not state.is_active and state is not RunState.CANCELLED:
            raise Refused(f"run {name} has already ended as {state.word}")
        if dry_run:
            out.line(f"{name} ({state.word}) would be cancelled")
            return
        confirm(f"Cancel {name}", yes=yes)
        command, result = request(database, known, "cancel", dag, row, {}, name)
    answer(
        out, name, "cancelled" if (result or {}).get("state") == "cancelled" else "is being cancelled", command, result
    )


@click.command()
@click.argument("run")
@click.option("--failed", "--only-failed", "only_failed", is_flag=True, help="Only what failed, and all below it.")
@destructive
@with_output()
def clear(out: Output, run: str, only_failed: bool, yes: bool, dry_run: bool) -> None:
    """Run all tasks of a run again; an ended run is opened again."""
    known = settings()
    with opened(known) as database:
        with database.read() as connection:
            _, dag, row = tasks_found.find_run(connection, run)
            chosen = selection.of_run(connection, Graphs(), dag, row, only_failed=only_failed)
        name = f"{dag.name}/{row.run_id}"
        if not chosen:
            raise Refused(f"nothing of {name} failed")
        if dry_run:
            tell_plan(out, name, chosen, "cleared")
            return
        confirm(f"Clear {len(chosen)} tasks of {name}", yes=yes)
        command, result = request(database, known, "clear", dag, row, {"instances": chosen}, name)
    answer(out, name, f"{len(chosen)} tasks cleared", command, result, instances=chosen)


@click.command()
@click.argument("run")
@click.option("--state", required=True, type=click.Choice(MARKS))
@destructive
@with_output()
def mark(out: Output, run: str, state: str, yes: bool, dry_run: bool) -> None:
    """Set a run's end by hand: what runs is stopped, the rest is skipped."""
    known = settings()
    with opened(known) as database:
        with database.read() as connection:
            _, dag, row = tasks_found.find_run(connection, run)
        name = f"{dag.name}/{row.run_id}"
        if dry_run:
            out.line(f"{name} ({RunState(row.state).word}) would be marked {state}")
            return
        confirm(f"Mark {name} {state}", yes=yes)
        command, result = request(database, known, "mark_run", dag, row, {"state": state}, name)
    answer(out, name, f"marked {state}", command, result)


@click.command()
@click.argument("run")
@destructive
@with_output()
def delete(out: Output, run: str, yes: bool, dry_run: bool) -> None:
    """Forget an ended run with its tries, values and logs."""
    known = settings()
    with opened(known) as database:
        with database.read() as connection:
            _, dag, row = tasks_found.find_run(connection, run)
        name = f"{dag.name}/{row.run_id}"
        if RunState(row.state).is_active:
            raise Refused(f"run {name} is {RunState(row.state).word}", remedy=f"First: dagd runs cancel {name}")
        if dry_run:
            out.line(f"{name} ({RunState(row.state).word}) would be deleted")
            return
        confirm(f"Delete {name} for good", yes=yes)
        deleted = upkeep.delete_runs(database, [row.id], _audit("runs delete", name))
    if not deleted:
        raise Refused(f"run {name} was opened again meanwhile")
    shutil.rmtree(known.log_folder / str(dag.id) / str(row.id), ignore_errors=True)
    out.result({"subject": name, "deleted": deleted}, f"{name}: deleted", name="subject")


def _audit(action: str, subject: str) -> Any:
    return lambda connection: requests.write_audit(connection, requests.user_name(), action, subject)
