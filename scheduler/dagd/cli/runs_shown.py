"""A run and its task instances as people see them; the JSON comes from elsewhere."""

from __future__ import annotations

from typing import Any

from dagd.cli.output import Column, Output
from dagd.cli.text import first_line

Row = dict[str, Any]
SHOWN = [
    Column("dag_id", "dag"), Column("run_id", "run"), Column("kind", "kind"), Column("state", "state", "state"),
    Column("reason", "reason"), Column("logical_date", "logical date", "instant"),
    Column("data_interval_start", "data from", "instant"), Column("data_interval_end", "data to", "instant"),
    Column("created_at", "created", "instant"), Column("started_at", "started", "instant"),
    Column("ended_at", "ended", "instant"), Column("duration_s", "took", "duration"), Column("conf", "conf"),
    Column("version", "version"), Column("request_key", "key"),
]  # fmt: skip
TASKS = [
    Column("name", "task"), Column("state", "state", "state"), Column("tries", "try"),
    Column("started_at", "started", "instant"), Column("duration_s", "took", "duration"),
    Column("waited_s", "waited", "duration", wide=True), Column("pool", "pool", wide=True),
    Column("isolation", "isolation", wide=True), Column("pid", "pid", wide=True),
    Column("exit_code", "exit", wide=True), Column("signal", "signal", wide=True),
    Column("reason", "reason"), Column("said", "error"),
]  # fmt: skip


def print_run(out: Output, shown: Row) -> None:
    """A run with its tasks: JSON whole, or two tables."""
    if out.is_machine:
        out.record(shown, name="run_id")
        return
    out.record(shown, [one for one in SHOWN if shown.get(one.key) not in (None, {}, "")])
    if shown["events"]:
        told = ", ".join(f"{one['asset']} from {one['source']}" for one in shown["events"])
        out.line(f"events    {told}")
    out.line()
    out.table([for_table(task) for task in shown["tasks"]], TASKS)


def for_table(task: Row) -> Row:
    """A task instance's JSON with what only a table shows."""
    name = task["task_id"]
    if task["map_index"] is None:
        name = f"{name} ×{task.get('count')}"
    elif task["map_index"] >= 0:
        name = f"{name}/{task['map_index']}"
    said = first_line(task["error"] or "", 70)
    if said and task.get("error_at"):
        said = f"{said}   {task['error_at']}"
    tries = "" if not task["try"] else f"{task['try']}/{task['max_tries']}"
    return {**task, "name": name, "tries": tries, "said": said}
