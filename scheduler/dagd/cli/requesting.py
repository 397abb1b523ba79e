"""Requests that need the scheduler's decision: the row is written, the bell rung, the answer waited for."""

from __future__ import annotations

from typing import Any

from dagd.cli.context import now_micros
from dagd.cli.output import Output
from dagd.cli.waiting import decision
from dagd.engine.doorbell import ring_all
from dagd.model.settings import Settings
from dagd.store import requests
from dagd.store.database import Database

Row = dict[str, Any]
QUEUED = "queued, no scheduler running"


def request(
    database: Database, settings: Settings, kind: str, dag: Any, run: Any, payload: Row, subject: str
) -> tuple[int, Row | None]:
    """Store a request and wait up to 5 s; its id and what was decided, None while nobody has. Raises Refused."""
    with database.write() as connection:
        command = requests.put_command(
            connection, kind, dag.id, run.id, payload, subject=subject, actor=requests.user_name()
        )
    ring_all(settings.run_folder)
    return command, decision(database, command, now_micros())


def answer(out: Output, subject: str, done: str, command: int, result: Row | None, **more: Any) -> None:
    """Say what became of a request."""
    if out.is_machine:
        state = "queued" if result is None else "done"
        out.record(
            {"subject": subject, "command_id": command, "state": state, "result": result, **more}, name="subject"
        )
    elif result is None:
        out.line(f"{subject}: {QUEUED}")
    else:
        out.line(f"{subject}: {done}")
