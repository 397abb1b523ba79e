"""`dagd deadlines list | ack`."""

from __future__ import annotations

from typing import Any

import click

from dagd.cli import refs, tasks_found
from dagd.cli.context import limit_option
from dagd.cli.opening import opened
from dagd.cli.output import Column, Output, with_output
from dagd.model.errors import NotFound
from dagd.model.states import DeadlineState
from dagd.model.times import iso
from dagd.store import catalog, reads, requests

COLUMNS = [
    Column("dag_id", "dag"), Column("run_id", "run"), Column("task_id", "task"), Column("kind", "kind"),
    Column("due_at", "due", "instant"), Column("state", "state", "state"), Column("fired_at", "missed at", "instant"),
    Column("met_at", "met at", "instant", wide=True), Column("acknowledged_at", "seen", "instant", wide=True),
]  # fmt: skip


def deadline_json(row: Any, seen: dict[str, int]) -> dict[str, Any]:
    """One deadline."""
    return {
        "dag_id": row.dag_name, "run_id": row.run_name, "task_id": row.task_id, "kind": row.kind,
        "due_at": iso(row.due_at), "state": DeadlineState(row.state).word, "fired_at": iso(row.fired_at),
        "met_at": iso(row.met_at), "acknowledged_at": iso(seen.get(reference(row))),
    }  # fmt: skip


def reference(row: Any) -> str:
    """How the audit log names a deadline."""
    place = "/".join(part for part in (row.dag_name, row.run_name, row.task_id) if part)
    return f"{place} {row.kind}"


@click.command()
@click.argument("dag", required=False)
@click.option("--state", type=click.Choice([state.word for state in DeadlineState]), help="Only these.")
@click.option("--unseen", is_flag=True, help="Only those that nobody acknowledged.")
@limit_option
@with_output(watch=True)
def list_deadlines(out: Output, dag: str | None, state: str | None, unseen: bool, limit: int | None) -> None:
    """Deadlines and SLAs, the earliest due first."""
    code = None if state is None else int(DeadlineState[state.upper()])
    with opened() as database, database.read() as connection:
        name = None if dag is None else refs.find_dag(connection, refs.parse(dag).dag).name
        seen = catalog.acknowledged(connection)
        rows = [deadline_json(row, seen) for row in reads.deadlines(connection, state=code, name=name)]
    rows = [row for row in rows if not (unseen and row["acknowledged_at"])]
    out.rows(rows[:limit], COLUMNS, name="run_id", empty="no deadlines")


@click.command()
@click.argument("place", metavar="DAG/RUN[/TASK]")
@click.option("--kind", help="Only the deadline of this kind.")
@with_output()
def ack(out: Output, place: str, kind: str | None) -> None:
    """Note that missed deadlines of a run or task have been seen."""
    with opened() as database:
        with database.read() as connection:
            ref, dag, run = tasks_found.find_run(connection, place)
            found = [
                row
                for row in reads.deadlines(connection, state=int(DeadlineState.MISSED), name=dag.name)
                if row.run_id == run.id and ref.task in (None, row.task_id) and kind in (None, row.kind)
            ]
        if not found:
            raise NotFound(f"{place} has no missed deadline", remedy="`dagd deadlines list --state missed` shows them.")
        with database.write() as connection:
            for row in found:
                requests.write_audit(connection, requests.user_name(), "deadlines ack", reference(row))
    if out.is_machine:
        out.rows([{"deadline": reference(row), "acknowledged": True} for row in found], [], name="deadline")
    else:
        out.line("\n".join(f"{reference(row)}: seen" for row in found))
