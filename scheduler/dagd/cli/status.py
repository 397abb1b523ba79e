"""`dagd status | health`."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import click

from dagd.agent import launch
from dagd.cli.backfill_shown import backfill_json, bar
from dagd.cli.context import settings
from dagd.cli.opening import opened
from dagd.cli.output import Column, Output, with_output
from dagd.cli.shapes import dag_json
from dagd.model.settings import Settings
from dagd.model.states import AttemptState, DeadlineState, RunState
from dagd.store import backfills, reads
from dagd.store.dialects import clock

Row = dict[str, Any]
LATE_S = 10.0
PARTS = ("scheduler", "processor", "agent")
COMPONENTS = [
    Column("name", "part"), Column("state", "state", "state"), Column("pid", "pid"), Column("host", "host"),
    Column("heartbeat_age_s", "heard of", "duration"), Column("detail", "detail"),
]  # fmt: skip


def read_health(connection: Any, known: Settings) -> Row:
    """The JSON of `health`: one row for each live part, one for each that is missing."""
    now = clock(connection)
    found = [
        _part("scheduler", row.pid, row.host, now - row.heartbeat, f"{row.home}")
        for row in reads.schedulers(connection)
    ]
    homes = {row.home: row.host for row in reads.schedulers(connection)}
    found += [
        _part(row.name, row.pid, row.host, now - row.heartbeat, row.detail)
        for row in reads.components(connection)
        if row.name != "agent"
    ]
    found += [_agent(Path(home), host) for home, host in (homes or {str(known.home): None}).items()]
    names = {part["name"] for part in found}
    found += [_part(name, None, None, None, "not running") for name in PARTS if name not in names]
    counts = reads.live_counts(connection)
    lags = [row.lag_us for row in reads.schedulers(connection)]
    return {
        "ok": all(part["ok"] for part in found), "components": found,
        "lag_s": round(max(lags, default=0) / 1_000_000, 3), "queued": counts.get(int(AttemptState.QUEUED), 0),
        "running": counts.get(int(AttemptState.RUNNING), 0),
    }  # fmt: skip


def _part(name: str, pid: int | None, host: str | None, age_us: int | None, detail: str | None) -> Row:
    age = None if age_us is None else round(max(0, age_us) / 1_000_000, 3)
    return {
        "name": name, "ok": age is not None and age < LATE_S, "pid": pid, "host": host, "heartbeat_age_s": age,
        "detail": detail,
    }  # fmt: skip


def _agent(home: Path, host: str | None) -> Row:
    """The agent of a home, by whether it answers: it beats to its schedulers, not to the database."""
    facts = launch.read_description(home) or {}
    if host is not None and host != socket.gethostname():
        return _part("agent", None, host, 0, f"on another host, not looked at: {home}")
    if not launch.is_listening(home):
        return _part("agent", None, host, None, f"no agent answers in {home}")
    slots = facts.get("slots")
    told = f"{slots} workers, {home}" if slots else str(home)
    return _part("agent", facts.get("pid"), host, 0, told)


def for_table(part: Row) -> Row:
    """A part with the word for its state."""
    state = "ok" if part["ok"] else "missing" if part["heartbeat_age_s"] is None else "late"
    return {**part, "state": state}


@click.command()
@with_output(watch=True)
@click.pass_context
def health(ctx: click.Context, out: Output) -> None:
    """Whether each part is alive; exit 1 when one is missing or late."""
    known = settings()
    with opened(known) as database, database.read() as connection:
        shown = read_health(connection, known)
    if out.is_machine:
        out.record(shown)
    else:
        out.table([for_table(part) for part in shown["components"]], COMPONENTS)
        out.line(f"lag {shown['lag_s']:g} s, {shown['queued']} tries queued, {shown['running']} running")
    out.flush()
    if not shown["ok"]:
        ctx.exit(1)


@click.command()
@with_output(watch=True)
def status(out: Output) -> None:
    """What runs, what waits, what is wrong."""
    known = settings()
    with opened(known) as database, database.read() as connection:
        shown = read_health(connection, known) | _counts(connection) | {"database": database.describe()}
    shown |= {"home": str(known.home), "dags_folder": str(known.dags_folder)}
    if out.is_machine:
        out.record(shown)
        return
    out.table([for_table(part) for part in shown["components"]], COMPONENTS)
    out.line()
    _tell(out, shown)


def _counts(connection: Any) -> Row:
    errors = {row.file: row for row in reads.import_errors(connection)}
    active = reads.active_counts(connection)
    dags = [dag_json(row, errors, active) for row in reads.dags(connection)]
    runs = {RunState(code).word: count for code, count in reads.run_counts(connection).items()}
    tries = {AttemptState(code).word: count for code, count in reads.live_counts(connection).items()}
    ranges = backfills.unended(connection)
    running = backfills.running_runs(connection, sorted({row.dag_id for row in ranges}))
    missed = reads.deadlines(connection, state=int(DeadlineState.MISSED))
    return {
        "dags": len(dags), "paused": sum(dag["paused"] for dag in dags), "import_errors": len(errors),
        "held": {row.name: row.held for row in reads.dag_rows(connection).values() if row.held},
        "next_due": min((dag["next_due"] for dag in dags if dag["next_due"] and not dag["paused"]), default=None),
        "runs": {state.word: runs.get(state.word, 0) for state in RunState}, "tries": tries,
        "deadlines_missed": len(missed),
        "backfills": [backfill_json(row, running.get(row.id, 0)) for row in ranges],
    }  # fmt: skip


def _tell(out: Output, shown: Row) -> None:
    out.line(f"db {shown['database']}   dags {shown['dags_folder']}   home {shown['home']}")
    paused = f" ({shown['paused']} paused)" if shown["paused"] else ""
    out.line(f"{shown['dags']} DAGs{paused}, next slot {out.instant(shown['next_due'])}")
    runs = [f"{out.state(word)} {count}" for word, count in shown["runs"].items() if count]
    out.line("runs: " + ("  ".join(runs) or "none yet"))
    out.line(f"tries: {shown['queued']} queued, {shown['running']} running, lag {shown['lag_s']:g} s")
    if shown["import_errors"]:
        out.line(f"{out.state('error', short=True)} {shown['import_errors']} files with errors: dagd dags errors")
    if shown["deadlines_missed"]:
        told = f"{shown['deadlines_missed']} deadlines missed: dagd deadlines list --state missed"
        out.line(f"{out.state('missed', short=True)} {told}")
    for one in shown["backfills"]:
        out.line(out.fit(f"{one['dag_id']}: {bar(one, utf8=out.utf8)}"))
    for name, why in shown["held"].items():
        out.line(f"{out.state('error', short=True)} {name} is held: {why}")
