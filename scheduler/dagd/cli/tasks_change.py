"""`dagd tasks clear | mark | kill`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from dagd.cli import selection
from dagd.cli.context import confirm, destructive, settings
from dagd.cli.opening import opened
from dagd.cli.output import Output, with_output
from dagd.cli.requesting import answer, request
from dagd.engine.loader import Graphs
from dagd.model.errors import Refused
from dagd.model.states import RunState
from dagd.store.database import Database

MARKS = ("success", "failed", "skipped")


def tell_plan(out: Output, name: str, chosen: selection.Instances, verb: str) -> None:
    """What --dry-run says."""
    if out.is_machine:
        out.record({"subject": name, "state": "dry-run", "instances": chosen}, name="subject")
        return
    for task_id, index in chosen:
        out.line(f"{task_id}{'' if index is None else f'/{index}'} would be {verb}")


@click.command()
@click.argument("task")
@click.option("--failed", "--only-failed", "only_failed", is_flag=True, help="Only what of it failed, and all below.")
@click.option("--only", is_flag=True, help="Exactly these: no setups, no mapped tasks that depend on them.")
@destructive
@with_output()
def clear(out: Output, task: str, only_failed: bool, only: bool, yes: bool, dry_run: bool) -> None:
    """Run task instances again. TASK is DAG/RUN/TASK[/MAP]; `task+` takes those below it, `+task` those above."""
    known = settings()
    graphs = Graphs()
    with opened(known) as database:
        with database.read() as connection:
            scope = selection.of_reference(connection, graphs, task)
            chosen = scope.chosen
            if only_failed:
                chosen = selection.failed_in(connection, graphs, scope.dag, scope.run, chosen)
            if not only:
                chosen = selection.with_setups(scope.graph, chosen)
                selection.check_maps(connection, scope.graph, scope.run, chosen)
        payload = selection.to_payload(scope.graph, chosen)
        if not payload:
            raise Refused(f"nothing of {scope.name} failed")
        _carry_out(out, database, scope, payload, "clear", {"instances": payload}, "cleared", yes, dry_run)


@click.command()
@click.argument("task")
@click.option("--state", required=True, type=click.Choice(MARKS))
@destructive
@with_output()
def mark(out: Output, task: str, state: str, yes: bool, dry_run: bool) -> None:
    """Set the state of task instances by hand; it stands until the next clear or mark, and what follows, follows it."""
    with opened() as database:
        with database.read() as connection:
            scope = selection.of_reference(connection, Graphs(), task)
        payload = {"instances": scope.payload, "state": state}
        _carry_out(out, database, scope, scope.payload, "mark_tasks", payload, f"marked {state}", yes, dry_run)


@click.command()
@click.argument("task")
@destructive
@with_output()
def kill(out: Output, task: str, yes: bool, dry_run: bool) -> None:
    """Stop the running tries of a task; they end cancelled and are not tried again."""
    with opened() as database:
        with database.read() as connection:
            scope = selection.of_reference(connection, Graphs(), task)
        if not RunState(scope.run.state).is_active:
            raise Refused(f"run {scope.run.run_id} has ended as {RunState(scope.run.state).word}: nothing of it runs")
        _carry_out(out, database, scope, scope.payload, "kill", {"instances": scope.payload}, "stopped", yes, dry_run)


def _carry_out(
    out: Output, database: Database, scope: selection.Scope, chosen: selection.Instances, kind: str,
    payload: Mapping[str, Any], done: str, yes: bool, dry_run: bool,
) -> None:  # fmt: skip
    if dry_run:
        tell_plan(out, scope.name, chosen, done)
        return
    number = f"{len(chosen)} task instances" if len(chosen) > 1 else "it"
    confirm(f"{scope.name}: {number} will be {done}", yes=yes)
    command, result = request(database, settings(), kind, scope.dag, scope.run, dict(payload), scope.name)
    answer(out, scope.name, f"{number} {done}" if len(chosen) > 1 else done, command, result, instances=chosen)
