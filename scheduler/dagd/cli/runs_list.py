"""`dagd runs list`, apart from what shows one run: that needs the engine's own code, which a list need not load."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from dagd.cli import refs
from dagd.cli.backfill_shown import find_row
from dagd.cli.context import is_sayable, limit_option, now_micros
from dagd.cli.opening import opened
from dagd.cli.output import Column, Output, with_output
from dagd.cli.shapes import run_json
from dagd.cli.zones import read_age
from dagd.model.errors import NotFound
from dagd.model.states import RunKind, RunState
from dagd.store import reads_runs

Row = dict[str, Any]
TABLE_ROWS = 50
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
            yield from shaped(connection, part)
            part = []
    yield from shaped(connection, part)


def shaped(connection: Any, rows: list[Any]) -> list[Row]:
    """The JSON of runs."""
    events = reads_runs.events_by_run(connection, [row.id for row in rows])
    return [run_json(row, events.get(row.id, ())) for row in rows]
