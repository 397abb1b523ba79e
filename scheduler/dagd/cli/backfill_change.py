"""`dagd backfill pause | resume | cancel`."""

from __future__ import annotations

from typing import Any

import click

from dagd.cli.backfill_shown import find_row, read_json
from dagd.cli.context import confirm, destructive, now_micros, settings
from dagd.cli.opening import opened
from dagd.cli.output import Output, with_output
from dagd.cli.requesting import answer
from dagd.cli.waiting import decision
from dagd.engine.doorbell import ring_all
from dagd.model.errors import Refused
from dagd.model.settings import Settings
from dagd.model.states import BackfillState
from dagd.store import backfills, requests
from dagd.store.database import Database

Row = dict[str, Any]


@click.command()
@click.argument("backfill")
@with_output()
def pause(out: Output, backfill: str) -> None:
    """Start no more runs of a backfill; those that run go on."""
    _ask(out, "backfill_pause", backfill, "paused: its runs end, no more start")


@click.command()
@click.argument("backfill")
@with_output()
def resume(out: Output, backfill: str) -> None:
    """Go on with a paused backfill."""
    _ask(out, "backfill_resume", backfill, "goes on")


@click.command()
@click.argument("backfill")
@destructive
@with_output()
def cancel(out: Output, backfill: str, yes: bool, dry_run: bool) -> None:
    """End a backfill: no more of its runs start, and those that run are cancelled. `pause` lets them end."""
    known = settings()
    with opened(known) as database:
        with database.read() as connection:
            row = find_row(connection, backfill)
            shown = read_json(connection, row)
        _refuse_ended(row, but=BackfillState.CANCELLED)
        name = f"backfill b-{row.id} of {row.dag_name}"
        told = f"{shown['done']} of {shown['slots']} slots done, {shown['running']} running"
        if dry_run:
            out.line(f"{name} would be cancelled ({told})")
            return
        confirm(f"Cancel {name} ({told})", yes=yes)
        command, result = _request(database, known, "backfill_cancel", row)
    answer(out, f"b-{row.id}", "cancelled", command, result)


def _refuse_ended(row: Any, *, but: BackfillState | None = None) -> None:
    state = BackfillState(row.state)
    if not state.is_active and state is not but:
        raise Refused(f"backfill b-{row.id} has already ended as {state.word}")


def _ask(out: Output, kind: str, text: str, done: str) -> None:
    known = settings()
    with opened(known) as database:
        with database.read() as connection:
            row = find_row(connection, text)
        _refuse_ended(row)
        command, result = _request(database, known, kind, row)
    answer(out, f"b-{row.id}", done, command, result)


def _request(database: Database, known: Settings, kind: str, row: Any) -> tuple[int, Row | None]:
    with database.write() as connection:
        command = backfills.ask(connection, kind, row.dag_id, row.dag_name, row.id, requests.user_name())
    ring_all(known.run_folder)
    return command, decision(database, command, now_micros())
