"""`dagd dags next`: of a stored DAG, or of a file without any database."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dagd.cli import refs
from dagd.cli.context import now_micros, settings
from dagd.cli.files import parse_one
from dagd.cli.opening import opened
from dagd.cli.output import Column, Output, with_output
from dagd.cli.slots import COLUMNS, MOST, after_or_now, slot_rows
from dagd.model.errors import NotFound, did_you_mean
from dagd.store import reads
from dagd.timetables.build import build


@click.command()
@click.argument("dag", metavar="DAG|FILE")
@click.option("-n", "--count", type=click.IntRange(0, MOST), default=5, show_default=True, help="How many.")
@click.option("--after", help="Slots due after this instant (else now).")
@click.option("--dag", "only", help="This DAG of the file.")
@with_output()
def next_slots(out: Output, dag: str, count: int, after: str | None, only: str | None) -> None:
    """The slots that fall due next, whether the DAG is paused or not."""
    now = now_micros()
    is_file = dag.endswith(".py") or is_there(dag)
    specs = _of_file(dag, only, now) if is_file else [_of_dag(dag)]
    rows = [row for spec in specs for row in _slots(spec, after, now, count)]
    columns = [Column("dag_id", "dag"), *COLUMNS] if len(specs) > 1 else COLUMNS
    out.rows(rows, columns, name="due_at", empty="time starts no run of it")


def is_there(path: str) -> bool:
    """Whether this is a file; texts that can be no path are none."""
    try:
        return Path(path).is_file()
    except (OSError, ValueError):
        return False


def _of_file(path: str, only: str | None, now: int) -> list[dict[str, Any]]:
    specs = parse_one(path, settings())
    if only is not None:
        known = [spec.dag_id for spec in specs]
        specs = [spec for spec in specs if spec.dag_id == only]
        if not specs:
            raise NotFound(f"{path} has no DAG {only!r}", remedy=did_you_mean(only, known))
    names = ("dag_id", "schedule", "timezone", "dst", "start_at", "end_at")
    return [{name: getattr(spec, name) for name in names} | {"first_seen_at": now} for spec in specs]


def _of_dag(name: str) -> dict[str, Any]:
    with opened() as database, database.read() as connection:
        row = refs.find_dag(connection, refs.parse(name).dag)
        version = reads.version(connection, row.id, None, row.current_version)
        if version is None:
            raise NotFound(f"DAG {row.name!r} has no version yet")
        return reads.spec_of(version) | {"first_seen_at": row.first_seen_at}


def _slots(spec: dict[str, Any], after: str | None, now: int, count: int) -> list[dict[str, Any]]:
    schedule = spec["schedule"].get("time") or spec["schedule"]
    if schedule["kind"] in {"none", "assets"}:
        return []
    timetable = build(
        schedule, timezone=spec["timezone"], dst=spec["dst"], start_at=spec["start_at"], end_at=spec["end_at"],
        first_seen_at=spec["first_seen_at"],
    )  # fmt: skip
    zone = schedule.get("timezone") or spec["timezone"]
    rows = slot_rows(timetable, after_or_now(after, now, zone), count, zone)
    return [{"dag_id": spec["dag_id"], **row} for row in rows]
