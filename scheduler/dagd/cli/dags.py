"""`dagd dags list | show | errors`."""

from __future__ import annotations

import json
from typing import Any

import click

from dagd.cli import refs
from dagd.cli.context import limit_option
from dagd.cli.opening import opened
from dagd.cli.output import Column, Output, with_output
from dagd.cli.shapes import dag_json, error_json
from dagd.cli.text import first_line
from dagd.model.times import iso
from dagd.store import reads

LIST = [
    Column("dag_id", "dag"), Column("status", "status", "state"), Column("schedule", "schedule"),
    Column("timezone", "zone", wide=True), Column("next_due", "next due", "instant"),
    Column("last_state", "last run", "state"), Column("last_run_id", "run", wide=True),
    Column("active_runs", "active"), Column("file", "file"), Column("version", "version", wide=True),
    Column("owner", "owner", wide=True), Column("tags", "tags", wide=True), Column("error", "error"),
]  # fmt: skip
ERRORS = [
    Column("file", "file"), Column("line", "line"), Column("code", "code"), Column("error", "error"),
    Column("since", "since", "instant"), Column("last_good_version", "last good version"),
]  # fmt: skip
SHOWN = [
    Column("dag_id", "dag"), Column("status", "status", "state"), Column("description", "description"),
    Column("schedule", "schedule"), Column("timezone", "zone"), Column("next_due", "next due", "instant"),
    Column("last_state", "last run", "state"), Column("last_run_id", "run"), Column("active_runs", "active runs"),
    Column("file", "file"), Column("version", "version"), Column("owner", "owner"), Column("tags", "tags"),
    Column("error", "error"), Column("catchup", "catchup"), Column("max_active_runs", "max active runs"),
    Column("max_active_tasks", "max active tasks"), Column("listens_to", "listens to"), Column("params", "params"),
    Column("fork_unsafe", "runs in spawned processes because"),
]  # fmt: skip
TASKS = [
    Column("task_id", "task"), Column("operator", "operator"), Column("upstreams", "after"),
    Column("trigger_rule", "rule"), Column("retries", "retries"), Column("pool", "pool"),
    Column("isolation", "isolation"),
]  # fmt: skip


def for_table(row: dict[str, Any]) -> dict[str, Any]:
    """A DAG's JSON with what only a table shows."""
    last = row["last_run"] or {}
    status = "error" if row["error"] else "paused" if row["paused"] else "active"
    return {**row, "status": status, "last_state": last.get("state"), "last_run_id": last.get("run_id")}


@click.command()
@click.option("--tag", "tags", multiple=True, help="Only DAGs with this tag.")
@click.option("--paused/--active", "paused", default=None, help="Only paused DAGs, or only others.")
@limit_option
@with_output(watch=True)
def list_dags(out: Output, tags: tuple[str, ...], paused: bool | None, limit: int | None) -> None:
    """DAGs with schedule, next slot and last run."""
    with opened() as database, database.read() as connection:
        errors = {row.file: row for row in reads.import_errors(connection)}
        active = reads.active_counts(connection)
        rows = [dag_json(row, errors, active) for row in reads.dags(connection)]
    rows = [row for row in rows if set(tags) <= set(row["tags"]) and paused in (None, row["paused"])]
    rows = rows[:limit]
    shown = rows if out.is_machine and out.format != "plain" else [for_table(row) for row in rows]
    out.rows(shown, LIST, name="dag_id", empty="no DAGs yet: put a file into the DAG folder, or see `dagd dags errors`")


@click.command()
@limit_option
@with_output(watch=True)
@click.pass_context
def list_errors(ctx: click.Context, out: Output, limit: int | None) -> None:
    """Files that cannot be imported. Exit 1 when there are any."""
    with opened() as database, database.read() as connection:
        rows = [error_json(row) for row in reads.import_errors(connection)]
    found = bool(rows)
    rows = rows[:limit]
    if out.format == "table":
        out.rows([{**row, "error": first_line(row["error"])} for row in rows], ERRORS, name="file", empty="no errors")
    else:
        out.rows(rows, ERRORS, name="file", empty="no errors")
    out.flush()
    if found:
        ctx.exit(1)


@click.command()
@click.argument("dag")
@with_output(watch=True)
def show_dag(out: Output, dag: str) -> None:
    """One DAG: its tasks, params and settings."""
    with opened() as database, database.read() as connection:
        stored = refs.find_dag(connection, refs.parse(dag).dag)
        row = reads.dags(connection, stored.name)[0]
        errors = {one.file: one for one in reads.import_errors(connection)}
        shown = (
            dag_json(row, errors, reads.active_counts(connection))
            | details(row)
            | {"listens_to": reads.subscribed(connection, row.id)}
        )
    if out.is_machine:
        out.record(shown, name="dag_id")
        return
    out.record(for_table(shown), SHOWN)
    out.line()
    out.table(shown["tasks"], TASKS)


def details(row: Any) -> dict[str, Any]:
    """What `show` adds to a line of `list`."""
    spec = json.loads(row.spec) if row.spec else {}
    names = (
        "line", "start_at", "end_at", "catchup", "pin", "max_active_runs", "max_active_tasks", "dst", "params",
        "max_consecutive_failed_runs", "fail_fast", "success_when", "condition", "doc_md", "fork_unsafe", "groups",
        "needs",
    )  # fmt: skip
    found = {name: spec.get(name) for name in names}
    found["start_date"], found["end_date"] = iso(found.pop("start_at")), iso(found.pop("end_at"))
    timeout = spec.get("dagrun_timeout_us")
    found["dagrun_timeout_s"] = None if timeout is None else timeout / 1_000_000
    found |= {"first_seen_at": iso(row.first_seen_at), "missing_since": iso(row.missing_since), "held": row.held}
    found["unpaused_at"] = iso(row.unpaused_at)
    found["tasks"] = [task_json(task) for task in spec.get("tasks", [])]
    return found


def task_json(task: dict[str, Any]) -> dict[str, Any]:
    """A task of a spec: durations in seconds."""
    shown = {name: value for name, value in task.items() if not name.endswith("_us")}
    for name, value in task.items():
        if name.endswith("_us"):
            shown[f"{name.removesuffix('_us')}_s"] = None if value is None else value / 1_000_000
    return shown
