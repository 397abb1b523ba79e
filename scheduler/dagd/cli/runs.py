"""`dagd runs show | watch`."""

from __future__ import annotations

from typing import Any

import click

from dagd.cli import instances, refs
from dagd.cli.opening import opened
from dagd.cli.output import Output, with_output
from dagd.cli.runs_list import shaped
from dagd.cli.runs_shown import print_run
from dagd.cli.waiting import follow, is_good
from dagd.cli.why import worker_slots
from dagd.engine import explain
from dagd.engine.loader import Graphs
from dagd.model.states import Reason
from dagd.store import reads, reads_runs

Row = dict[str, Any]
WAITS = {"none", "scheduled", "queued", "up_for_retry", "deferred"}
LEFT = {"skipped", "upstream_failed"}


def read_run(connection: Any, text: str) -> tuple[Row, Any]:
    """The JSON of `runs show` for a reference, and the run's row. Raises NotFound, UsageError."""
    ref = refs.parse(text)
    dag = refs.find_dag(connection, ref.dag)
    run = refs.find_run(connection, dag, refs.need_run(ref, text))
    return full_run(connection, dag, run), run


def full_run(connection: Any, dag: Any, run: Any, graphs: Graphs | None = None) -> Row:
    """The JSON of `runs show` for a run's row."""
    shown = shaped(connection, [run])[0]
    known = graphs or Graphs()
    shown["tasks"] = instances.task_rows(instances.load(connection, known, dag, run))
    _say_why(connection, known, dag, run, shown["tasks"])
    return shown


def _say_why(connection: Any, graphs: Graphs, dag: Any, run: Any, tasks: list[Row]) -> None:
    """Give each instance that waits or did not run its reason, in the words of `dagd why`."""
    told = [
        row for row in tasks if row["state"] in WAITS or (row["state"] in LEFT and row["reason"] == Reason.UPSTREAM)
    ]
    if not told:
        return
    case, _ = explain.load_case(connection, graphs, dag.name)
    case.workers = worker_slots()
    explain.take_run(connection, graphs, case, run)
    for row in told:
        index = row["map_index"]
        row["reason"] = explain.reason_of(case, row["task_id"], None if index is None or index < 0 else index)


@click.command()
@click.argument("run")
@with_output(watch=True)
def show_run(out: Output, run: str) -> None:
    """One run and the state of each of its tasks. RUN is DAG/RUN, DAG/latest or DAG/latest-failed."""
    with opened() as database, database.read() as connection:
        shown, _ = read_run(connection, run)
    print_run(out, shown)


@click.command()
@click.argument("run")
@click.option("--timeout", type=click.FloatRange(min=0), help="Give up watching after so many seconds: exit 6.")
@with_output()
@click.pass_context
def watch_run(ctx: click.Context, out: Output, run: str, timeout: float | None) -> None:
    """Follow a run until it has ended; exit 1 when it did not succeed. Ctrl-C leaves it running."""
    with opened() as database:
        with database.read() as connection:
            shown, row = read_run(connection, run)
            dag = reads.dag_row(connection, shown["dag_id"])
        follow(database, dag, row, timeout, out)
        with database.read() as connection:
            now = reads_runs.by_number(connection, row.id)
            shown = full_run(connection, dag, now or row)
    print_run(out, shown)
    out.flush()
    if not is_good(shown["state"]):
        ctx.exit(1)
