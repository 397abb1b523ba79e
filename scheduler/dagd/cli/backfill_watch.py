"""`dagd backfill list | show | watch`, and the bar."""

from __future__ import annotations

import shutil
import sys
import time
from typing import Any

import click

from dagd.cli import refs
from dagd.cli.backfill_shown import LIST, backfill_json, bar, find_row, read_json
from dagd.cli.context import limit_option, now_micros
from dagd.cli.opening import look, opened
from dagd.cli.output import Column, Output, with_output
from dagd.cli.text import is_terminal, is_utf8
from dagd.cli.waiting import BAR_S, FIRST_PAUSE_S, LINE_S, LONGEST_PAUSE_S, scheduler_lives
from dagd.model.errors import TimedOut
from dagd.model.states import BackfillState
from dagd.store import backfills
from dagd.store.database import Database

Row = dict[str, Any]


@click.command()
@click.argument("dag", required=False)
@limit_option
@with_output(watch=True)
def list_backfills(out: Output, dag: str | None, limit: int | None) -> None:
    """Backfills, the newest first."""
    with opened() as database, database.read() as connection:
        dag_id = None if dag is None else refs.find_dag(connection, refs.dag_alone(dag)).id
        rows = backfills.newest_first(connection, dag_id, limit)
        running = backfills.running_runs(connection, sorted({row.dag_id for row in rows}))
        shown = [backfill_json(row, running.get(row.id, 0)) for row in rows]
    out.rows(shown, LIST, name="backfill_id", empty="no backfills")


@click.command()
@click.argument("backfill")
@with_output(watch=True)
def show_backfill(out: Output, backfill: str) -> None:
    """One backfill: its slots, what became of them, and how long the rest will take."""
    with opened() as database, database.read() as connection:
        shown = read_json(connection, find_row(connection, backfill))
    print_backfill(out, shown)


def print_backfill(out: Output, shown: Row) -> None:
    """A backfill: JSON whole, or a line for each of its parts and the bar."""
    if out.is_machine:
        out.record(shown, name="backfill_id")
        return
    out.line(out.fit(bar(shown, utf8=out.utf8)))
    kinds = {"state": "state", "from": "instant", "to": "instant", "started_at": "instant", "ended_at": "instant"}
    names = (
        "dag_id", "state", "from", "to", "new", "existing", "kept", "success", "failed", "running", "max_active",
        "reverse", "reprocess", "started_at", "ended_at",
    )  # fmt: skip
    out.record(shown, [Column(name, name.replace("_", " "), kinds.get(name, "text")) for name in names])


@click.command()
@click.argument("backfill")
@click.option("--timeout", type=click.FloatRange(min=0), help="Give up watching after so many seconds: exit 6.")
@with_output()
@click.pass_context
def watch_backfill(ctx: click.Context, out: Output, backfill: str, timeout: float | None) -> None:
    """Follow a backfill until it is over; exit 1 when runs of it failed. Ctrl-C leaves it running."""
    with opened() as database:
        with database.read() as connection:
            number = find_row(connection, backfill).id
        finish(ctx, out, follow(database, number, timeout, out))


def follow(database: Database, number: int, timeout: float | None, out: Output) -> Row:
    """Wait until a backfill is over; its JSON then. The bar goes to stderr. Raises TimedOut; Ctrl-C says how to come
    back."""
    if not out.is_machine and not look(database, lambda connection: scheduler_lives(connection, now_micros())):
        out.note("no scheduler is running: the backfill waits for `dagd up`")
    progress = Bar(out)
    deadline = None if timeout is None else time.monotonic() + timeout
    pause = FIRST_PAUSE_S
    try:
        while True:
            shown = look(database, lambda connection: read_json(connection, find_row(connection, f"b-{number}")))
            if not BackfillState[shown["state"].upper()].is_active and not shown["running"]:
                return shown
            progress.show(shown)
            if deadline is not None and time.monotonic() >= deadline:
                raise TimedOut(
                    f"backfill b-{number} is still {shown['state']} after {timeout:g} s: "
                    f"{shown['done']} of {shown['slots']} slots are done",
                    remedy=f"It goes on: dagd backfill watch b-{number}",
                )
            time.sleep(pause if deadline is None else max(0.0, min(pause, deadline - time.monotonic())))
            pause = min(LONGEST_PAUSE_S, pause * 1.5)
    except KeyboardInterrupt:
        progress.clear()
        click.echo(f"\nthe backfill goes on; come back with: dagd backfill watch b-{number}", err=True)
        raise
    finally:
        progress.clear()


def finish(ctx: click.Context, out: Output, shown: Row) -> None:
    """Say how a backfill ended; exit 1 when it was cancelled or runs of it failed."""
    if out.is_machine:
        out.record(shown, name="backfill_id")
    else:
        out.line(out.fit(bar(shown, utf8=out.utf8)))
        if shown["failed"]:
            out.line(
                f"  which failed: dagd runs list {shown['dag_id']} --backfill {shown['backfill_id']} --state failed"
            )
    out.flush()
    if shown["failed"] or shown["state"] != "done":
        ctx.exit(1)


class Bar:
    """How far a backfill is, on stderr: a bar on a terminal, else a line every ten seconds."""

    def __init__(self, out: Output) -> None:
        self._draws = is_terminal(sys.stderr) and not out.is_machine
        self._utf8 = is_utf8(sys.stderr)
        self._next = time.monotonic() + (0.0 if self._draws else LINE_S)
        self._drawn = False

    def show(self, shown: Row) -> None:
        """Draw the bar again, or say a line, when it is time to."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + (BAR_S if self._draws else LINE_S)
        text = bar(shown, utf8=self._utf8)
        if self._draws:
            click.echo(f"\r\x1b[2K{text[: shutil.get_terminal_size().columns - 1]}", err=True, nl=False)
            self._drawn = True
        else:
            click.echo(text, err=True)

    def clear(self) -> None:
        """Take the bar away."""
        if self._drawn:
            click.echo("\r\x1b[2K", err=True, nl=False)
            self._drawn = False
