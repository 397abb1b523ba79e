"""Waiting: for a run to end, with a bar on a terminal and a line every 10 s elsewhere; for a request to be decided."""

from __future__ import annotations

import json
import shutil
import sys
import time
from typing import Any

import click

from dagd.cli import instances
from dagd.cli.opening import look
from dagd.cli.output import Output, duration
from dagd.cli.text import is_terminal, is_utf8
from dagd.engine.loader import Graphs
from dagd.model.errors import NotFound, Refused, TimedOut
from dagd.model.states import CommandState, RunState
from dagd.store import reads, reads_runs
from dagd.store.database import Database

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.02, 0.2
LINE_S, BAR_S = 10.0, 0.5
BAR_CELLS = 16
PATIENCE_S = 5.0
ALIVE_US = 10_000_000
ENDED = {"success", "failed", "skipped", "upstream_failed", "cancelled", "removed"}


def is_good(state: str) -> bool:
    """Whether a run's end is the one that was hoped for."""
    return state == RunState.SUCCESS.word


def follow(database: Database, dag: Any, run: Any, timeout: float | None, out: Output) -> str:
    """Wait until a run has ended; its state. Progress goes to stderr. Raises TimedOut; Ctrl-C says how to come back."""
    progress = Progress(dag, run, out)
    deadline = None if timeout is None else time.monotonic() + timeout
    pause = FIRST_PAUSE_S
    try:
        while True:
            code = look(database, lambda connection: reads_runs.state_of(connection, run.id))
            if code is None:
                raise NotFound(f"run {dag.name}/{run.run_id} has been deleted")
            if not RunState(code).is_active:
                return RunState(code).word
            if progress.is_due():
                look(database, progress.show)
            if deadline is not None and time.monotonic() >= deadline:
                raise TimedOut(
                    f"{dag.name}/{run.run_id} is still {RunState(code).word} after {timeout:g} s",
                    remedy=f"It goes on: dagd runs watch {dag.name}/{run.run_id}",
                )
            time.sleep(pause if deadline is None else max(0.0, min(pause, deadline - time.monotonic())))
            pause = min(LONGEST_PAUSE_S, pause * 1.5)
    except KeyboardInterrupt:
        progress.clear()
        click.echo(f"\nthe run goes on; come back with: dagd runs watch {dag.name}/{run.run_id}", err=True)
        raise
    finally:
        progress.clear()


class Progress:
    """How far a run is, on stderr."""

    def __init__(self, dag: Any, run: Any, out: Output) -> None:
        self._dag, self._run, self._out = dag, run, out
        self._graphs = Graphs()
        self._begun = time.monotonic()
        self._bar = is_terminal(sys.stderr) and not out.is_machine
        self._utf8 = is_utf8(sys.stderr)
        self._next = self._begun + (0.2 if self._bar else LINE_S)
        self._drawn = False

    def is_due(self) -> bool:
        """Whether it is time to draw the bar again, or to say a line."""
        return time.monotonic() >= self._next

    def show(self, connection: Any) -> None:
        """Draw the bar again, or say a line."""
        now = time.monotonic()
        self._next = now + (BAR_S if self._bar else LINE_S)
        row = reads_runs.by_number(connection, self._run.id)
        if row is None:
            return
        rows = instances.task_rows(instances.load(connection, self._graphs, self._dag, row))
        text = self._text(rows, duration(now - self._begun))
        if self._bar:
            click.echo(f"\r\x1b[2K{text[: shutil.get_terminal_size().columns - 1]}", err=True, nl=False)
            self._drawn = True
        else:
            click.echo(text, err=True)

    def _text(self, rows: list[dict[str, Any]], since: str) -> str:
        total = sum(row.get("count", 1) for row in rows)
        done = sum(row.get("count", 1) for row in rows if row["state"] in ENDED)
        live = [row for row in rows if row["state"] == "running"]
        running = [f"{row['task_id']} (try {row['try']}/{row['max_tries']})" for row in live]
        where = f"running: {', '.join(running[:3])}{' and more' * (len(running) > 3)}" if running else "waiting"
        full = BAR_CELLS * done // max(1, total)
        cells = ("█" * full + "░" * (BAR_CELLS - full)) if self._utf8 else "#" * full + "." * (BAR_CELLS - full)
        mark = "▶" if self._utf8 else ">"
        return f"{mark} {self._dag.name} {self._run.run_id}  {cells} {done}/{total} tasks  {since}   {where}"

    def clear(self) -> None:
        """Take the bar away."""
        if self._drawn:
            click.echo("\r\x1b[2K", err=True, nl=False)
            self._drawn = False


def scheduler_lives(connection: Any, now: int) -> bool:
    """Whether a scheduler was heard of in the last ten seconds."""
    return any(now - row.heartbeat < ALIVE_US for row in reads.schedulers(connection))


def decision(database: Database, command: int, now: int) -> dict[str, Any] | None:
    """What the scheduler made of a request: its result, or None when none answered within 5 s. Raises Refused."""
    deadline = time.monotonic() + PATIENCE_S
    pause = FIRST_PAUSE_S
    lives = look(database, lambda connection: scheduler_lives(connection, now))
    while True:
        row = look(database, lambda connection: reads.command_row(connection, command))
        if row is not None and row.state != CommandState.NEW:
            result = json.loads(row.result or "{}")
            if row.state == CommandState.REFUSED:
                raise Refused(str(result.get("error") or "the request was refused"))
            return dict(result)
        if not lives or time.monotonic() > deadline:
            return None
        time.sleep(pause)
        pause = min(0.1, pause * 1.3)
