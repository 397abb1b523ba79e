"""The JSON of DAGs and runs, from their rows. Keys are a contract: they may be added, never renamed."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from dagd.cli.text import first_line
from dagd.model.states import RunKind, RunState
from dagd.model.times import iso

Row = dict[str, Any]


def dag_json(row: Any, errors: dict[str, Any], active: dict[int, int]) -> Row:
    """One DAG of `dags list`. `errors` are the import errors by file, `active` the runs that have not ended by DAG."""
    spec = json.loads(row.spec) if row.spec else {}
    last = None
    if row.last_run_id is not None:
        state = RunState(row.last_state).word
        last = {"run_id": row.last_run_id, "state": state, "logical_date": iso(row.last_logical_at)}
    return {
        "dag_id": row.name, "paused": bool(row.paused), "schedule": spec.get("schedule_text"),
        "timezone": spec.get("timezone"), "next_due": None if row.missing_since is not None else iso(row.next_due),
        "last_run": last, "active_runs": active.get(row.id, 0), "file": row.file, "version": row.number,
        "tags": spec.get("tags", []), "owner": spec.get("owner"), "error": dag_error(row, errors),
        "description": spec.get("description"),
    }  # fmt: skip


def dag_error(row: Any, errors: dict[str, Any]) -> str | None:
    """The first line of what is wrong with a DAG, or None."""
    if row.missing_since is not None:
        return f"{row.file} is gone since {iso(row.missing_since)}; its DAG starts no runs until it is back"
    found = errors.get(row.file)
    if found is not None:
        return first_line(found.error)
    return f"held: {first_line(row.held)}" if row.held else None


def error_json(row: Any) -> Row:
    """One file of `dags errors`."""
    return {
        "file": row.file, "line": row.line, "code": row.code, "error": row.error, "traceback": row.traceback,
        "since": iso(row.since), "last_good_version": row.last_good_version,
    }  # fmt: skip


def run_json(row: Any, events: Iterable[Row]) -> Row:
    """One run of `runs list`."""
    return {
        "dag_id": row.dag_name, "run_id": row.run_id, "kind": RunKind(row.kind).word,
        "state": RunState(row.state).word, "logical_date": iso(row.logical_at),
        "data_interval_start": iso(row.interval_start), "data_interval_end": iso(row.interval_end),
        "created_at": iso(row.created_at), "started_at": iso(row.started_at), "ended_at": iso(row.ended_at),
        "duration_s": seconds_between(row.started_at, row.ended_at),
        "conf": conf_of(row.conf), "version": row.version_number, "request_key": row.request_key,
        "backfill_id": None if row.backfill_id is None else f"b-{row.backfill_id}", "partition": row.partition,
        "events": list(events), "due_at": iso(row.due_at), "reason": row.reason,
    }  # fmt: skip


def conf_of(text: str | None) -> Any:
    """A run's conf as the JSON value that was given."""
    return json.loads(text) if text else {}


def seconds_between(start: int | None, end: int | None) -> float | None:
    """Seconds from one instant to another; None when one of them is not known."""
    return None if start is None or end is None else round((end - start) / 1_000_000, 6)


def error_parts(text: str | None) -> tuple[str | None, str | None]:
    """What a try's stored error says (type and message, as Python prints them), and where: `file:line`."""
    if not text:
        return None, None
    try:
        found = json.loads(text)
    except ValueError:
        return text, None
    if not isinstance(found, dict):
        return str(found), None
    kind, message = found.get("type"), str(found.get("message") or "")
    said = f"{kind}: {message}" if kind and message else str(kind or message)
    place = f"{found['file']}:{found['line']}" if found.get("file") and found.get("line") else found.get("file")
    return said or None, place
