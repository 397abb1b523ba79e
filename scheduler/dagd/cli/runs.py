"""`dagd runs list | show | watch`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from dagd.cli import instances, refs
from dagd.cli.backfill_shown import find_row
from dagd.cli.context import is_sayable, limit_option, now_micros
from dagd.cli.opening import opened
from dagd.cli.output import Column, Output, with_output
from dagd.cli.runs_shown import print_run
from dagd.cli.shapes import run_json
from dagd.cli.waiting import follow, is_good
from dagd.cli.why import worker_slots
from dagd.cli.zones import read_age
from dagd.engine import explain
from dagd.engine.loader import Graphs
from dagd.model.errors import NotFound
from dagd.model.states import Reason, RunKind, RunState
from dagd.store import reads, reads_runs

Row = dict[str, Any]
TABLE_ROWS = 50
WAITS = {"none", "scheduled", "queued", "up_for_retry", "deferred"}
LEFT = {"skipped", "upstream_failed"}
PAGE = 500
LIST = [
    Column("dag_id", "dag"), Column("run_id", "run"), Column("kind", "kind"), Column("state", "state", "state"),
    Column("logical_date", "logical date", "instant"), Column("started_at", "started", "instant"),
    Column("ended_at", "ended", "instant", wide=True), Column("duration_s", "took", "duration"),
    Column("version", "version", wide=True), Column("conf", "conf", wide=True), Column("reason", "reason", wide=True),
]  # fmt: skip


def _states(_ctx: click.Context, _param: click.Parameter, words: tuple[str, ...]) -> list[int]:
    return [int(RunState[word.upper()]) for word in words]


def _kinds(_ctx: click.Context, _param: click.Parameter, words: tuple[str, ...]) -> list[int]:
    return [int(RunKind[word.upper()]) for word in words]


@click.command()
@click.argument("dag", required=False)
@click.option("--state", "states", multiple=True, callback=_states, type=click.Choice([s.word for s in RunState]))
@click.option("--kind", "kinds", multiple=True, callback=_kinds, type=click.Choice([kind.word for kind in RunKind]))
@click.option("--since", help="Due at or after this instant, or so long ago (12h, 30d).")
@click.option("--until", help="Due before this instant.")
@click.option("--key", help="The run of this request key.")
@click.option("--backfill", help="The runs of this backfill.")
@limit_option
@with_output(watch=True)
def list_runs(
    out: Output, dag: str | None, states: list[int], kinds: list[int], since: str | None, until: str | None,
    key: str | None, backfill: str | None, limit: int | None,
) -> None:  # fmt: skip
    """Runs, the newest first. For programs the list is complete unless --limit cuts it."""
    now = now_micros()
    if key is not None and not is_sayable(key):
        raise NotFound(f"{key!r} is no request key")
    with opened() as database, database.read() as connection:
        wanted: Row = {"states": states, "kinds": kinds, "key": key, "limit": limit}
        wanted["since"] = None if since is None else read_age(since, now)
        wanted["until"] = None if until is None else read_age(until, now)
        wanted["backfill"] = None if backfill is None else find_row(connection, backfill).id
        if dag is not None:
            wanted["dag_id"] = refs.find_dag(connection, refs.parse(dag).dag).id
        if limit is None and not out.is_machine:
            wanted["limit"] = TABLE_ROWS + 1
        rows = _with_events(connection, reads_runs.newest_first(connection, **wanted))
        if out.is_machine:
            out.rows(rows, LIST, name="run_id")
            return
        found = list(rows)
    cut = limit is None and len(found) > TABLE_ROWS
    out.rows(found[:TABLE_ROWS] if cut else found, LIST, name="run_id", empty="no runs")
    if cut:
        out.note(f"the newest {TABLE_ROWS}; --limit shows more")


def _with_events(connection: Any, rows: Iterator[Any]) -> Iterator[Row]:
    part: list[Any] = []
    for row in rows:
        part.append(row)
        if len(part) == PAGE:
            yield from _shaped(connection, part)
            part = []
    yield from _shaped(connection, part)


def _shaped(connection: Any, rows: list[Any]) -> list[Row]:
    events = reads_runs.events_by_run(connection, [row.id for row in rows])
    return [run_json(row, events.get(row.id, ())) for row in rows]


def read_run(connection: Any, text: str) -> tuple[Row, Any]:
    """The JSON of `runs show` for a reference, and the run's row. Raises NotFound, UsageError."""
    ref = refs.parse(text)
    dag = refs.find_dag(connection, ref.dag)
    run = refs.find_run(connection, dag, refs.need_run(ref, text))
    return full_run(connection, dag, run), run


def full_run(connection: Any, dag: Any, run: Any, graphs: Graphs | None = None) -> Row:
    """The JSON of `runs show` for a run's row."""
    shown = _shaped(connection, [run])[0]
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
